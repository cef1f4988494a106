//! Which driver each report of a request is by, and what an app is told when nobody stands for any. Whose a phone is, the phone book says.

use std::collections::HashSet;

use crate::devices::Listed;
use crate::formats::phone::Item;
use crate::formats::phone::app::App;
use crate::formats::phone::pairs::Pairs;
use crate::formats::refusal::{Code, Refusal};
use crate::ingest::Refused;
use crate::model::id::DriverId;

use super::Call;

/// The owners of one request's devices.
pub(super) struct Owners<'a> {
    call: &'a Call<'a>,
    /// What a report is by that does not say it: nearly always all are by one phone.
    unnamed: Vec<String>,
    listed: Listed,
    /// How many devices were looked up.
    devices: usize,
    /// Asked about last.
    last: Option<(Vec<String>, Result<DriverId, Refusal>)>,
    found: usize,
    /// The first for whom nobody stands.
    unknown: Option<Refusal>,
}

impl<'a> Owners<'a> {
    /// Looks up all devices of a request at once: one that names many does not ask the table as often.
    pub(super) async fn of(call: &'a Call<'a>, items: &[Item]) -> Result<Self, Refused> {
        // `Overland` alone sends batches, and its address may say whose phone it is.
        let in_address = || {
            let query = call.head.uri.query().filter(|_query| call.app == App::Overland)?;
            Pairs::parse(query.as_bytes()).ok()?.text(&["device_id", "device", "id"])
        };
        let neighbour = || items.iter().find_map(|item| item.device.as_ref()?.last().cloned());
        let unnamed: Vec<String> = in_address().or_else(|| call.login.clone()).or_else(neighbour).into_iter().collect();
        let of_items = items.iter().filter_map(|item| item.device.as_ref());
        let names: HashSet<&str> = of_items.flat_map(|device| if device.is_empty() { &unnamed } else { device }).map(String::as_str).collect();
        let (devices, tenant) = (names.len(), call.principal.tenant);
        let listed = call.state.phone_book.listed(tenant, names).await.map_err(|error| {
            tracing::error!(%error, "devices could not be looked up");
            Refused::DeviceTable
        })?;
        Ok(Self { call, unnamed, listed, devices, last: None, found: 0, unknown: None })
    }

    /// The driver of a device by its names, or the refusal of its report.
    pub(super) fn find(&mut self, device: &[String]) -> Result<DriverId, Refusal> {
        let names = if device.is_empty() { self.unnamed.as_slice() } else { device };
        let known = self.last.as_ref().filter(|(asked, _)| asked.as_slice() == names).map(|(_, owner)| owner.clone());
        let owner = known.unwrap_or_else(|| {
            let (call, names) = (self.call, names.to_vec());
            let owner = call.state.phone_book.owner_of(&self.listed, &call.principal.scope, call.app, &names);
            self.last = Some((names, owner.clone()));
            owner
        });
        match &owner {
            Err(refusal) if matches!(refusal.code, Code::UnknownDevice | Code::MissingField) => drop(self.unknown.get_or_insert(refusal.clone())),
            _ => self.found += 1,
        }
        owner
    }

    /// What a report is by that does not say it.
    pub(super) fn unnamed(&self) -> Option<String> {
        self.unnamed.first().cloned()
    }

    /// When nobody stands for any of the reports, the phone keeps them until somebody does: the whole request is refused.
    pub(super) fn check(self, events: usize) -> Result<(), Refused> {
        match self.unknown.filter(|_refusal| self.found == 0) {
            None => Ok(()),
            Some(refusal) => Err(Refused::Strangers { refusal, events, devices: self.devices }),
        }
    }
}
