//! Whose a report of a phone is: the table of devices, else the credential's one driver, else the device itself. Judges no credential.

use std::sync::Arc;

use super::{Devices, DevicesError};
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
        for name in names {
            let Ok(device) = DeviceId::parse(name) else { continue };
            if let Some(driver) = self.devices.driver_of(tenant, &device).await? {
                return Ok(Ok(driver));
            }
        }
        if let Some(driver) = scope.only_driver() {
            return Ok(Ok(driver.clone()));
        }
        let at = app.device_at();
        Ok(match (names.last(), self.unlisted) {
            (None, _) => Err(Refusal::new(Code::MissingField, at, "says whose phone this is, and is required")),
            (Some(_), UnlistedDevices::Strict) => Err(Refusal::new(Code::UnknownDevice, at, "is no device of this tenant: PUT /v1/devices/{device}")),
            (Some(name), UnlistedDevices::Open) => DriverId::parse(name).map_err(|error| Refusal::new(Code::InvalidId, at, error.to_string())),
        })
    }
}
