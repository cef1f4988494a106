//! How recently a carrier was heard, in four words. Judged by ingest time against log time; never by the sender's clock or the wall's.

use std::time::Duration;

use crate::model::status::Link;
use crate::model::time::UnixMs;

/// Up to which silence a link is called what; `live <= delayed <= stale`, beyond that it is lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LinkSettings {
    pub live: Duration,
    pub delayed: Duration,
    pub stale: Duration,
}

impl Default for LinkSettings {
    fn default() -> Self {
        Self { live: Duration::from_secs(30), delayed: Duration::from_mins(2), stale: Duration::from_mins(10) }
    }
}

impl LinkSettings {
    /// What the link of a carrier last heard at `heard` is at `now`.
    pub fn link(&self, heard: UnixMs, now: UnixMs) -> Link {
        let silence = now.since(heard);
        if silence <= self.live {
            Link::Live
        } else if silence <= self.delayed {
            Link::Delayed
        } else if silence <= self.stale {
            Link::Stale
        } else {
            Link::Lost
        }
    }

    /// The first moment after `now` at which the link changes when nothing more is heard; none once it is lost.
    pub fn changes_at(&self, heard: UnixMs, now: UnixMs) -> Option<UnixMs> {
        let limit = match self.link(heard, now) {
            Link::Live => self.live,
            Link::Delayed => self.delayed,
            Link::Stale => self.stale,
            Link::Lost => return None,
        };
        Some(heard + limit + Duration::from_millis(1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_ages_at_its_limits_and_the_next_change_is_exact() {
        let settings = LinkSettings::default();
        let heard = UnixMs(1_000);
        for (silence_ms, link) in [(0, Link::Live), (30_000, Link::Live), (30_001, Link::Delayed), (120_000, Link::Delayed), (120_001, Link::Stale)] {
            assert_eq!(settings.link(heard, UnixMs(1_000 + silence_ms)), link);
        }
        assert_eq!(settings.link(heard, UnixMs(601_000)), Link::Stale);
        assert_eq!(settings.link(heard, UnixMs(601_001)), Link::Lost);
        assert_eq!(settings.changes_at(heard, UnixMs(601_001)), None);
        let mut now = heard;
        let mut seen = vec![settings.link(heard, now)];
        while let Some(next) = settings.changes_at(heard, now) {
            assert_eq!(settings.link(heard, UnixMs(next.0 - 1)), settings.link(heard, now));
            now = next;
            seen.push(settings.link(heard, now));
        }
        assert_eq!(seen, [Link::Live, Link::Delayed, Link::Stale, Link::Lost]);
    }

    #[test]
    fn what_was_heard_in_the_future_is_live() {
        assert_eq!(LinkSettings::default().link(UnixMs(5_000), UnixMs(0)), Link::Live);
    }
}
