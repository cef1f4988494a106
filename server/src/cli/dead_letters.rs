//! `waypost dead-letters`: lists refused events, shows one, tries them again. A client of the REST routes; decides nothing.

use std::fmt::Write as _;

use bytes::Bytes;
use hyper::{Method, StatusCode};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use thiserror::Error;
use waypost_sim::client::{Client, ClientError, Target};

/// Letters the server gives in one page.
const PAGE: usize = 1000;

/// Which letters are meant; what is absent lets all through.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Filter {
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub ids: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub protocol: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub actor: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub since: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub until: Option<String>,
}

/// How the answer is printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    Text,
    Json,
}

#[derive(Debug, Error)]
pub enum CliError {
    #[error(transparent)]
    Client(#[from] ClientError),
    #[error("the server refused with {status}: {detail}")]
    Refused { status: StatusCode, detail: String },
    #[error("the answer cannot be read: {0}")]
    Answer(#[from] serde_json::Error),
}

/// Talks to one server as one key.
#[derive(Debug)]
pub struct DeadLetters {
    client: Client,
}

#[derive(Debug, Deserialize)]
struct Page {
    letters: Vec<Value>,
    next: Option<String>,
}

#[derive(Debug, Default, Deserialize, Serialize)]
struct Redriven {
    accepted: u64,
    duplicate: u64,
    refused: u64,
    skipped: u64,
    #[serde(skip_serializing)]
    next: Option<String>,
}

impl DeadLetters {
    pub fn new(url: &str, key: &str) -> Result<Self, CliError> {
        Ok(Self { client: Client::new(Target::new(url, key)?) })
    }

    /// The newest `most`, as a table or as a JSON array.
    pub async fn list(&mut self, filter: &Filter, most: usize, form: Form) -> Result<String, CliError> {
        let (mut letters, mut cursor) = (Vec::new(), None);
        loop {
            let wanted = most.saturating_sub(letters.len()).min(PAGE);
            if wanted == 0 {
                break;
            }
            let page: Page = serde_json::from_value(self.ask(Method::GET, &list_path(filter, wanted, cursor.as_deref()), None).await?)?;
            letters.extend(page.letters);
            cursor = page.next;
            if cursor.is_none() {
                break;
            }
        }
        Ok(match form {
            Form::Json => pretty(&Value::Array(letters)),
            Form::Text => table(&letters, cursor.is_some()),
        })
    }

    /// One letter: what is known of it, a line each, and its bytes.
    pub async fn show(&mut self, id: &str, form: Form) -> Result<String, CliError> {
        let letter = self.ask(Method::GET, &format!("/v1/dead-letters/{}", escaped(id)), None).await?;
        Ok(match form {
            Form::Json => pretty(&letter),
            Form::Text => shown(&letter),
        })
    }

    /// Tries all that match, call by call, and adds up what became of them.
    pub async fn redrive(&mut self, filter: &Filter, form: Form) -> Result<String, CliError> {
        let (mut total, mut wanted) = (Redriven::default(), serde_json::to_value(filter)?);
        loop {
            let answer = self.ask(Method::POST, "/v1/dead-letters/redrive", Some(wanted.to_string().into())).await?;
            let Redriven { accepted, duplicate, refused, skipped, next } = serde_json::from_value(answer)?;
            total.accepted += accepted;
            total.duplicate += duplicate;
            total.refused += refused;
            total.skipped += skipped;
            let Some(next) = next else { break };
            wanted["cursor"] = Value::String(next);
        }
        let Redriven { accepted, duplicate, refused, skipped, .. } = &total;
        Ok(match form {
            Form::Json => pretty(&serde_json::to_value(&total)?),
            Form::Text => format!("accepted {accepted}, duplicate {duplicate}, refused again {refused}, skipped {skipped}\n"),
        })
    }

    async fn ask(&mut self, method: Method, path: &str, body: Option<Bytes>) -> Result<Value, CliError> {
        let (status, answer) = self.client.ask(method, path, body).await?;
        if status.is_success() {
            return Ok(serde_json::from_slice(&answer)?);
        }
        let problem: Value = serde_json::from_slice(&answer).unwrap_or_default();
        let detail = problem["detail"].as_str().unwrap_or("no reason was given").to_owned();
        Err(CliError::Refused { status, detail })
    }
}

fn list_path(filter: &Filter, limit: usize, cursor: Option<&str>) -> String {
    let mut path = format!("/v1/dead-letters?limit={limit}");
    let values = [
        ("reason", filter.reason.as_deref()),
        ("protocol", filter.protocol.as_deref()),
        ("actor", filter.actor.as_deref()),
        ("since", filter.since.as_deref()),
        ("until", filter.until.as_deref()),
        ("cursor", cursor),
    ];
    for (name, value) in values {
        if let Some(value) = value {
            path.extend(["&", name, "=", &escaped(value)]);
        }
    }
    path
}

/// A text inside a URL: all but the unreserved characters of RFC 3986 as their bytes in hex.
fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            write!(out, "%{byte:02X}").expect("memory takes it");
        }
    }
    out
}

fn table(letters: &[Value], more: bool) -> String {
    let columns = ["id", "received", "reason", "pointer", "protocol", "event_id", "actor", "tries"];
    let rows = std::iter::once(columns.map(str::to_uppercase)).chain(letters.iter().map(|letter| columns.map(|column| word(&letter[column]))));
    let rows: Vec<_> = rows.collect();
    let widths: Vec<usize> = (0..columns.len()).map(|column| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0)).collect();
    let mut out = String::new();
    for row in rows {
        let cells: Vec<String> = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:width$}")).collect();
        out.push_str(cells.join("  ").trim_end());
        out.push('\n');
    }
    if more {
        out.push_str("there are more; --limit shows them\n");
    }
    out
}

fn shown(letter: &Value) -> String {
    let mut out = String::new();
    let members = letter.as_object().into_iter().flatten();
    for (name, value) in members.filter(|(name, value)| *name != "raw" && !value.is_null()) {
        writeln!(out, "{name:<15} {}", word(value)).expect("memory takes it");
    }
    writeln!(out, "\n{}", word_raw(&letter["raw"])).expect("memory takes it");
    out
}

/// One line of it, whatever a sender put in: a control character could move the reader's cursor.
fn word(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => text.chars().map(|letter| if letter.is_control() { '\u{fffd}' } else { letter }).collect(),
        other => other.to_string(),
    }
}

/// As `word`, over several lines.
fn word_raw(value: &Value) -> String {
    let text = value.as_str().unwrap_or("");
    text.chars().map(|letter| if letter.is_control() && !matches!(letter, '\n' | '\t') { '\u{fffd}' } else { letter }).collect()
}

fn pretty(value: &Value) -> String {
    format!("{value:#}\n")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_filter_survives_its_way_into_a_url() {
        let filter = Filter { actor: Some("van 7/ä&x".into()), since: Some("2026-11-24T09:30:00+01:00".into()), ..Filter::default() };
        let expected = "/v1/dead-letters?limit=5&actor=van%207%2F%C3%A4%26x&since=2026-11-24T09%3A30%3A00%2B01%3A00&cursor=9";
        assert_eq!(list_path(&filter, 5, Some("9")), expected);
    }

    #[test]
    fn a_table_is_aligned_and_no_control_character_of_a_sender_reaches_the_terminal() {
        let letters =
            [json!({"id": "1", "reason": "null_island", "event_id": "e\u{1b}[2J", "tries": 0}), json!({"id": "22", "reason": "x", "tries": 1})];
        let printed = table(&letters, true);
        let lines: Vec<&str> = printed.lines().collect();
        assert_eq!(lines[0].find("REASON"), lines[1].find("null_island"));
        assert_eq!((lines.len(), lines[1].contains('\u{1b}')), (4, false));
        let shown = shown(&json!({"id": "1", "actor": null, "raw": "{\n\u{7}}"}));
        assert_eq!(shown, "id              1\n\n{\n\u{fffd}}\n");
    }
}
