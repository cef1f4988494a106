//! Whose a report of a phone is: the table of devices, else the credential's one driver, else the device itself. Judges no credential.

use std::sync::Arc;

use super::{Devices, DevicesError, Listed};
use crate::config::devices::UnlistedDevices;
use crate::formats::phone::app::App;
use crate::formats::refusal::{Code, Refusal};
use crate::model::device::DeviceId;
use crate::model::id::{DriverId, TenantId};
use crate::model::scope::Scope;
use crate::model::speed::SpeedUnit;

/// The table of devices, and what holds of phones by the settings. Cheap to clone.
#[derive(Clone, Debug)]
pub struct PhoneBook {
    pub devices: Arc<Devices>,
    pub unlisted: UnlistedDevices,
    pub osmand_speed_unit: SpeedUnit,
}

impl PhoneBook {
    /// The driver of a phone by its names, sent with a credential of this scope, or why its report is refused.
    pub async fn owner(&self, tenant: TenantId, scope: &Scope, app: App, names: &[String]) -> Result<Result<DriverId, Refusal>, DevicesError> {
        let listed = self.listed(tenant, names.iter().map(String::as_str)).await?;
        Ok(self.owner_of(&listed, scope, app, names))
    }

    /// Those of the names that the table lists.
    pub async fn listed(&self, tenant: TenantId, names: impl IntoIterator<Item = &str>) -> Result<Listed, DevicesError> {
        self.devices.listed(tenant, names.into_iter().filter_map(|name| DeviceId::parse(name).ok()).collect()).await
    }

    /// As `owner`, of a phone whose names were looked up.
    pub fn owner_of(&self, listed: &Listed, scope: &Scope, app: App, names: &[String]) -> Result<DriverId, Refusal> {
        let driver = names.iter().find_map(|name| listed.get(&DeviceId::parse(name).ok()?));
        if let Some(driver) = driver {
            return Ok(driver.clone());
        }
        if let Some(driver) = scope.only_driver() {
            return Ok(driver.clone());
        }
        let at = app.device_at();
        match (names.last(), self.unlisted) {
            (None, _) => Err(Refusal::new(Code::MissingField, at, "says whose phone this is, and is required")),
            (Some(_), UnlistedDevices::Strict) => Err(Refusal::new(Code::UnknownDevice, at, "is no device of this tenant: PUT /v1/devices/{device}")),
            (Some(name), UnlistedDevices::Open) => DriverId::parse(name).map_err(|error| Refusal::new(Code::InvalidId, at, error.to_string())),
        }
    }
}
