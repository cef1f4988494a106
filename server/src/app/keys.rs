//! `waypost keys`: makes, lists, replaces and revokes keys in a data folder, also while a server runs on it. Prints what scripts read.

use std::path::Path;

use anyhow::Context as _;
use jiff::Timestamp;

use super::announce;
use crate::clock::Clock;
use crate::formats::scope::ScopeWords;
use crate::http::keys::{KeyInfo, Keys, NewKey};
use crate::model::id::TenantId;
use crate::model::time::UnixMs;

/// Keys read at a time.
const PAGE: u32 = 500;

/// Makes a key and prints it: stdout carries the key alone.
pub async fn create(data: &Path, new: &NewKey) -> anyhow::Result<()> {
    std::fs::create_dir_all(data).with_context(|| format!("the data folder {} cannot be made", data.display()))?;
    let keys = Keys::open(data).await?;
    let made = keys.make(new, Clock::System.now()).await;
    keys.close().await;
    announce(&made?.1)
}

/// Prints a line a key, its fields apart by tabs, below a line that names them.
pub async fn list(data: &Path, tenant: Option<TenantId>) -> anyhow::Result<()> {
    let keys = open(data).await?;
    announce("id\ttenant\trole\tname\tscope\tcreated\trotated\trevoked")?;
    let mut after = String::new();
    loop {
        let page = keys.list(tenant, &after, PAGE).await?;
        page.iter().try_for_each(|key| announce(&line(key)?))?;
        match page.last() {
            Some(last) if page.len() == PAGE as usize => after.clone_from(&last.id),
            _ => break,
        }
    }
    keys.close().await;
    Ok(())
}

/// Replaces a key's secret and prints the new key alone.
pub async fn rotate(data: &Path, id: &str) -> anyhow::Result<()> {
    let keys = open(data).await?;
    let rotated = keys.rotate(id, None, Clock::System.now()).await;
    keys.close().await;
    announce(&rotated?.with_context(|| format!("there is no key {id} that is good"))?)
}

/// Makes a key good for nothing. A running server notices within a second.
pub async fn revoke(data: &Path, id: &str) -> anyhow::Result<()> {
    let keys = open(data).await?;
    let revoked = keys.revoke(id, None, Clock::System.now()).await;
    keys.close().await;
    if revoked? { Ok(()) } else { Err(anyhow::anyhow!("there is no key {id} that is good")) }
}

/// A folder without keys is a mistake here, and is not made.
async fn open(data: &Path) -> anyhow::Result<Keys> {
    if !data.join("waypost.db").exists() {
        anyhow::bail!("there is no key store in {}", data.display());
    }
    Ok(Keys::open(data).await?)
}

fn line(key: &KeyInfo) -> anyhow::Result<String> {
    let time = |at: Option<UnixMs>| at.and_then(|at| Timestamp::from_millisecond(at.0).ok()).map_or_else(|| "-".to_owned(), |at| at.to_string());
    let scope = if key.scope.is_all() { "-".to_owned() } else { serde_json::to_string(&ScopeWords::of(&key.scope))? };
    let name = if key.name.is_empty() { "-" } else { &key.name };
    let (created, rotated, revoked) = (time(Some(key.created)), time(key.rotated), time(key.revoked));
    Ok(format!("{}\t{}\t{}\t{name}\t{scope}\t{created}\t{rotated}\t{revoked}", key.id, key.tenant, key.role.as_str()))
}
