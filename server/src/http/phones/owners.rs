//! Which driver each report of a request is by, and what an app is told when nobody stands for any. Whose a phone is, the phone book says.

use crate::formats::phone::Item;
use crate::formats::phone::app::App;
use crate::formats::phone::pairs::Pairs;
use crate::formats::refusal::{Code, Refusal};
use crate::http::auth::Principal;
use crate::ingest::Refused;
use crate::model::id::DriverId;

use super::Call;

/// The owners of one request's devices.
pub(super) struct Owners<'a> {
    call: &'a Call<'a>,
    /// What a report is by that does not say it: nearly always all are by one phone.
    unnamed: Vec<String>,
    /// Asked about last.
    last: Option<(Vec<String>, Result<DriverId, Refusal>)>,
    found: usize,
    /// The first for whom nobody stands.
    unknown: Option<Refusal>,
}

impl<'a> Owners<'a> {
    pub(super) fn of(call: &'a Call<'a>, items: &[Item]) -> Self {
        // `Overland` alone sends batches, and its address may say whose phone it is.
        let in_address = || {
            let query = call.head.uri.query().filter(|_query| call.app == App::Overland)?;
            Pairs::parse(query.as_bytes()).ok()?.text(&["device_id", "device", "id"])
        };
        let neighbour = || items.iter().find_map(|item| item.device.as_ref()?.last().cloned());
        let unnamed = in_address().or_else(|| call.login.clone()).or_else(neighbour);
        Self { call, unnamed: unnamed.into_iter().collect(), last: None, found: 0, unknown: None }
    }

    /// The driver of a device by its names, or the refusal of its report.
    pub(super) async fn find(&mut self, device: &[String]) -> Result<Result<DriverId, Refusal>, Refused> {
        let names = if device.is_empty() { self.unnamed.clone() } else { device.to_vec() };
        let known = self.last.as_ref().filter(|(asked, _)| *asked == names).map(|(_, owner)| owner.clone());
        let owner = match known {
            Some(owner) => owner,
            None => self.look_up(&names).await?,
        };
        match &owner {
            Err(refusal) if matches!(refusal.code, Code::UnknownDevice | Code::MissingField) => drop(self.unknown.get_or_insert(refusal.clone())),
            _ => self.found += 1,
        }
        self.last = Some((names, owner.clone()));
        Ok(owner)
    }

    async fn look_up(&self, names: &[String]) -> Result<Result<DriverId, Refusal>, Refused> {
        let Principal { tenant, scope, .. } = &*self.call.principal;
        self.call.state.phone_book.owner(*tenant, scope, self.call.app, names).await.map_err(|error| {
            tracing::error!(%error, "a device could not be looked up");
            Refused::DeviceTable
        })
    }

    /// What a report is by that does not say it.
    pub(super) fn unnamed(&self) -> Option<String> {
        self.unnamed.first().cloned()
    }

    /// When nobody stands for any of the reports, the phone keeps them until somebody does: the whole request is refused.
    pub(super) fn check(self, events: usize) -> Result<(), Refused> {
        match self.unknown.filter(|_refusal| self.found == 0) {
            None => Ok(()),
            Some(refusal) => Err(Refused::Strangers { refusal, events }),
        }
    }
}
