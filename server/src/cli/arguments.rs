//! The arguments of the commands that talk to a running server, and what each prints. Decides nothing.

use std::io::Write as _;

use anyhow::Context as _;
use clap::{Args, Subcommand};

use crate::cli::dead_letters::{self, Filter, Form};

#[derive(Debug, Subcommand)]
pub enum DeadLetters {
    /// The newest first
    List {
        #[command(flatten)]
        server: AtServer,
        #[command(flatten)]
        which: Which,
        /// How many at most
        #[arg(long, value_name = "N", default_value_t = 100)]
        limit: usize,
    },
    /// One letter with the bytes that came
    Show {
        #[command(flatten)]
        server: AtServer,
        /// The id of the letter
        id: String,
    },
    /// Try all that match again: what is taken, or stands already, leaves the store
    Redrive {
        #[command(flatten)]
        server: AtServer,
        #[command(flatten)]
        which: Which,
        /// Only this letter; may be repeated
        #[arg(long = "id", value_name = "ID")]
        ids: Vec<String>,
    },
}

/// Whom to ask, and how to print what it says.
#[derive(Debug, Args)]
pub struct AtServer {
    /// The server, as http://HOST:PORT
    #[arg(long, env = "WAYPOST_URL")]
    url: String,
    /// A key that may operate
    #[arg(long, env = "WAYPOST_KEY", hide_env_values = true)]
    key: String,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
pub struct Which {
    /// Refused for this, such as `null_island`
    #[arg(long)]
    reason: Option<String>,
    /// Came as this: json, ndjson, protobuf, record
    #[arg(long)]
    protocol: Option<String>,
    /// Claims to be of this driver
    #[arg(long, value_name = "DRIVER")]
    actor: Option<String>,
    /// Received at this time or later: RFC 3339, or Unix milliseconds
    #[arg(long, value_name = "TIME")]
    since: Option<String>,
    /// Received before this time
    #[arg(long, value_name = "TIME")]
    until: Option<String>,
}

impl Which {
    fn filter(self, ids: Vec<String>) -> Filter {
        let Self { reason, protocol, actor, since, until } = self;
        Filter { ids, reason, protocol, actor, since, until }
    }
}

impl AtServer {
    fn client(&self) -> anyhow::Result<(dead_letters::DeadLetters, Form)> {
        let form = if self.json { Form::Json } else { Form::Text };
        Ok((dead_letters::DeadLetters::new(&self.url, &self.key)?, form))
    }
}

/// Runs one of them and prints what it says.
pub async fn look_at_dead_letters(command: DeadLetters) -> anyhow::Result<()> {
    let printed = match command {
        DeadLetters::List { server, which, limit } => {
            let (mut client, form) = server.client()?;
            client.list(&which.filter(Vec::new()), limit, form).await?
        }
        DeadLetters::Show { server, id } => {
            let (mut client, form) = server.client()?;
            client.show(&id, form).await?
        }
        DeadLetters::Redrive { server, which, ids } => {
            let (mut client, form) = server.client()?;
            client.redrive(&which.filter(ids), form).await?
        }
    };
    std::io::stdout().write_all(printed.as_bytes()).context("stdout does not take it")
}
