//! Whose phone a device is: a table for each tenant, kept in the key store's `SQLite` and in part in memory. Never judges a credential.

mod known;
pub mod phone_book;

use std::collections::HashMap;
use std::path::Path;
use std::time::Duration;

use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePool, SqlitePoolOptions, SqliteSynchronous};
use sqlx::{QueryBuilder, Sqlite};
use thiserror::Error;

use crate::clock::Clock;
use crate::model::device::DeviceId;
use crate::model::id::{DriverId, TenantId};
use crate::model::time::UnixMs;
use known::Known;

/// The devices of one data folder.
#[derive(Debug)]
pub struct Devices {
    pool: SqlitePool,
    known: Known,
    clock: Clock,
}

/// A device and its driver.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Device {
    pub device: DeviceId,
    pub driver: DriverId,
    pub updated: UnixMs,
}

#[derive(Debug, Error)]
pub enum DevicesError {
    #[error("the table of devices failed")]
    Sqlite(#[from] sqlx::Error),
    #[error("the table of devices could not be brought up to date")]
    Migrate(#[from] sqlx::migrate::MigrateError),
    #[error("the table of devices holds a row that is none: {0}")]
    BadRow(String),
    #[error("a tenant has at most {MAX_DEVICES} devices")]
    TooMany,
}

/// Of one tenant.
pub const MAX_DEVICES: i64 = 1_000_000;

/// Looked up by one question.
const AT_ONCE: usize = 256;

/// Devices that stand in the table, with their drivers.
pub type Listed = HashMap<DeviceId, DriverId>;

/// As the table holds it.
type Row = (String, String, i64);

impl Devices {
    /// Opens the table in `data`, creating it when there is none.
    pub async fn open(data: &Path, clock: Clock) -> Result<Self, DevicesError> {
        let options = SqliteConnectOptions::new()
            .filename(data.join("waypost.db"))
            .create_if_missing(true)
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(SqliteSynchronous::Full)
            .busy_timeout(Duration::from_secs(5));
        let pool = SqlitePoolOptions::new().max_connections(2).connect_with(options).await?;
        sqlx::migrate!("./migrations").run(&pool).await?;
        Ok(Self { pool, known: Known::default(), clock })
    }

    /// Those of the devices that are listed, and whose phones they are.
    pub async fn listed(&self, tenant: TenantId, devices: Vec<DeviceId>) -> Result<Listed, DevicesError> {
        let (mut listed, mut unknown, mut asked) = (Listed::new(), Vec::new(), None);
        for device in devices {
            match self.known.get(tenant, &device) {
                Ok(driver) => listed.extend(driver.map(|driver| (device, driver))),
                Err(now) => {
                    // The first says it for all: what changes after it is not learnt.
                    asked.get_or_insert(now);
                    unknown.push(device);
                }
            }
        }
        let Some(asked) = asked else { return Ok(listed) };
        for devices in unknown.chunks(AT_ONCE) {
            let found = self.find_all(tenant, devices).await?;
            for device in devices {
                self.known.learn(asked, tenant, device, found.get(device).cloned());
            }
            listed.extend(found);
        }
        Ok(listed)
    }

    async fn find_all(&self, tenant: TenantId, devices: &[DeviceId]) -> Result<Listed, DevicesError> {
        let mut query = QueryBuilder::<Sqlite>::new("SELECT device, driver, updated_ms FROM devices WHERE tenant = ");
        let mut names = query.push_bind(tenant.as_str()).push(" AND device IN (").separated(", ");
        for device in devices {
            names.push_bind(device.to_string());
        }
        names.push_unseparated(")");
        let rows: Vec<Row> = query.build_query_as().fetch_all(&self.pool).await?;
        rows.into_iter().map(|row| of_row(row).map(|found| (found.device, found.driver))).collect()
    }

    pub async fn find(&self, tenant: TenantId, device: &DeviceId) -> Result<Option<Device>, DevicesError> {
        let row: Option<Row> = sqlx::query_as("SELECT device, driver, updated_ms FROM devices WHERE tenant = ? AND device = ?")
            .bind(tenant.as_str())
            .bind(device.to_string())
            .fetch_optional(&self.pool)
            .await?;
        row.map(of_row).transpose()
    }

    /// At most `limit` devices in the order of their ids, those of one driver or all, after `after`.
    pub async fn list(&self, tenant: TenantId, driver: Option<&DriverId>, after: Option<&DeviceId>, limit: u32) -> Result<Vec<Device>, DevicesError> {
        let rows: Vec<Row> = sqlx::query_as(
            "SELECT device, driver, updated_ms FROM devices WHERE tenant = ?1 AND device > ?2 AND (?3 IS NULL OR driver = ?3) ORDER BY device LIMIT ?4",
        )
        .bind(tenant.as_str())
        .bind(after.map(DeviceId::to_string).unwrap_or_default())
        .bind(driver.map(DriverId::to_string))
        .bind(limit)
        .fetch_all(&self.pool)
        .await?;
        rows.into_iter().map(of_row).collect()
    }

    /// Says whose phone a device is from now on.
    pub async fn put(&self, tenant: TenantId, device: &DeviceId, driver: &DriverId) -> Result<Device, DevicesError> {
        let updated = self.clock.now();
        let done = sqlx::query(
            "INSERT INTO devices (tenant, device, driver, updated_ms) \
             SELECT ?1, ?2, ?3, ?4 WHERE EXISTS (SELECT 1 FROM devices WHERE tenant = ?1 AND device = ?2) \
             OR (SELECT count(*) FROM devices WHERE tenant = ?1) < ?5 \
             ON CONFLICT (tenant, device) DO UPDATE SET driver = excluded.driver, updated_ms = excluded.updated_ms",
        )
        .bind(tenant.as_str())
        .bind(device.to_string())
        .bind(driver.to_string())
        .bind(updated.0)
        .bind(MAX_DEVICES)
        .execute(&self.pool)
        .await;
        self.known.forget(tenant, device);
        if done?.rows_affected() == 0 {
            return Err(DevicesError::TooMany);
        }
        Ok(Device { device: device.clone(), driver: driver.clone(), updated })
    }

    /// False when it was not listed.
    pub async fn delete(&self, tenant: TenantId, device: &DeviceId) -> Result<bool, DevicesError> {
        let done = sqlx::query("DELETE FROM devices WHERE tenant = ? AND device = ?")
            .bind(tenant.as_str())
            .bind(device.to_string())
            .execute(&self.pool)
            .await;
        self.known.forget(tenant, device);
        Ok(done?.rows_affected() > 0)
    }

    pub async fn close(&self) {
        self.pool.close().await;
    }
}

fn of_row((device, driver, updated_ms): Row) -> Result<Device, DevicesError> {
    let bad = |error: crate::model::id::InvalidId| DevicesError::BadRow(error.to_string());
    let (device, driver) = (DeviceId::parse(&device).map_err(bad)?, DriverId::parse(&driver).map_err(bad)?);
    Ok(Device { device, driver, updated: UnixMs(updated_ms) })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names() -> (TenantId, TenantId, DeviceId) {
        let tenant = |name| TenantId::parse(name).expect("valid");
        (tenant("acme"), tenant("other"), DeviceId::parse("123456").expect("valid"))
    }

    fn driver(name: &str) -> DriverId {
        DriverId::parse(name).expect("valid")
    }

    #[tokio::test]
    async fn a_change_counts_at_once_also_for_who_was_asked_about_before() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let devices = Devices::open(folder.path(), Clock::System).await.expect("opens");
        let (acme, other, phone) = names();
        let driver_of = async |tenant| devices.listed(tenant, vec![phone.clone()]).await.expect("reads").remove(&phone);
        assert_eq!(driver_of(acme).await, None);
        devices.put(acme, &phone, &driver("van-1")).await.expect("written");
        assert_eq!(driver_of(acme).await, Some(driver("van-1")));
        devices.put(acme, &phone, &driver("van-2")).await.expect("written");
        assert_eq!(driver_of(acme).await, Some(driver("van-2")));
        assert_eq!(driver_of(other).await, None, "another tenant's phone is another phone");
        assert!(devices.delete(acme, &phone).await.expect("deleted"));
        assert!(!devices.delete(acme, &phone).await.expect("nothing to delete"));
        assert_eq!(driver_of(acme).await, None);
    }

    #[tokio::test]
    async fn many_are_looked_up_at_once_and_known_afterwards() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let devices = Devices::open(folder.path(), Clock::System).await.expect("opens");
        let (acme, other, _) = names();
        let all: Vec<DeviceId> = (0..3 * AT_ONCE).map(|number| DeviceId::parse(&number.to_string()).expect("valid")).collect();
        for device in [&all[0], &all[AT_ONCE], &all[3 * AT_ONCE - 1]] {
            devices.put(acme, device, &driver(&format!("van-{}", device.as_str()))).await.expect("written");
        }
        let listed = async |tenant| devices.listed(tenant, all.clone()).await;
        let read = listed(acme).await.expect("reads");
        assert!(read.len() == 3 && read.iter().all(|(device, driver)| driver.as_str() == format!("van-{}", device.as_str())), "{read:?}");
        assert!(listed(other).await.expect("reads").is_empty());
        // The table is asked no more.
        devices.close().await;
        assert_eq!(listed(acme).await.expect("known"), read);
        assert!(listed(other).await.expect("known").is_empty());
    }

    #[tokio::test]
    async fn the_list_goes_on_where_a_page_ended_and_is_a_tenants_own() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let devices = Devices::open(folder.path(), Clock::System).await.expect("opens");
        let (acme, other, phone) = names();
        devices.put(other, &phone, &driver("van-1")).await.expect("written");
        for (number, name) in (1..=5).zip(["a", "b", "c", "d", "e"]) {
            devices
                .put(acme, &DeviceId::parse(name).expect("valid"), &driver(if number % 2 == 0 { "van-2" } else { "van-1" }))
                .await
                .expect("written");
        }
        let list = async |driver: Option<&DriverId>, after: Option<&str>, limit: u32| {
            let after = after.map(|after| DeviceId::parse(after).expect("valid"));
            let page = devices.list(acme, driver, after.as_ref(), limit).await.expect("reads");
            page.iter().map(|device| device.device.as_str().to_owned()).collect::<Vec<_>>()
        };
        assert_eq!(list(None, None, 3).await, ["a", "b", "c"]);
        assert_eq!(list(None, Some("c"), 3).await, ["d", "e"]);
        assert_eq!(list(Some(&driver("van-2")), None, 10).await, ["b", "d"]);
        devices.close().await;
        let again = Devices::open(folder.path(), Clock::System).await.expect("opens again");
        assert_eq!(again.find(acme, &DeviceId::parse("d").expect("valid")).await.expect("reads").map(|found| found.driver), Some(driver("van-2")));
    }
}
