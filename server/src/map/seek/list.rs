//! Keeps the deliveries of one page, of those that a search meets: the least ids inside a box, or anywhere. Looks for none itself.

use super::{Keep, Seek};
use crate::map::query::{Found, Kept, RowFilter};
use crate::map::viewport::Viewport;
use crate::model::id::DeliveryId;

/// The deliveries inside a box, or all, in the order of their ids.
#[derive(Debug)]
pub struct List<R> {
    viewport: Option<Viewport>,
    looked_in_box: bool,
    limit: usize,
    after: Option<DeliveryId>,
    /// Those with the least ids so far, and others that are sorted out when there are many.
    found: Vec<R>,
    /// With more than a page sorted out, none beyond this id is on it: the last of one more than asked for, which says that there is a next page.
    last: Option<DeliveryId>,
}

/// Deliveries in the order of their ids.
#[derive(Clone, Debug)]
pub struct Page<R> {
    pub rows: Vec<R>,
    /// Where the next page begins; absent on the last one.
    pub next: Option<DeliveryId>,
}

impl<R: Kept> Seek<List<R>> {
    /// At most `limit` deliveries inside the box (everywhere without one), after `after`.
    pub fn list(viewport: Option<Viewport>, filter: RowFilter, limit: usize, after: Option<DeliveryId>) -> Self {
        Self::new(filter, List { viewport, looked_in_box: false, limit: limit.max(1), after, found: Vec::new(), last: None })
    }

    /// No part of the search: asked when the map is held no more.
    pub fn answer(self) -> Page<R> {
        let mut keep = self.keep;
        keep.sort_out();
        let more = keep.found.len() > keep.limit;
        keep.found.truncate(keep.limit);
        let next = keep.found.last().filter(|_| more).map(|row| row.delivery().clone());
        Page { rows: keep.found, next }
    }
}

impl<R: Kept> List<R> {
    /// Brings them into their order, each delivery once, as it was met last, and no more than asked for and one.
    fn sort_out(&mut self) {
        let mut order: Vec<Ranked> = self.found.iter().zip(0..).map(|(row, index)| Ranked { head: head_of(row.delivery()), index }).collect();
        let id = |ranked: &Ranked| self.found[ranked.index as usize].delivery();
        // Of the same delivery, what was met last comes first.
        order.sort_unstable_by(|a, b| a.head.cmp(&b.head).then_with(|| id(a).cmp(id(b))).then_with(|| b.index.cmp(&a.index)));
        order.dedup_by(|b, a| a.head == b.head && id(a) == id(b));
        order.truncate(self.limit + 1);
        // Each goes to its place by an exchange; what was to go from a place that is filled already has gone to where that one was.
        for place in 0..order.len() {
            let mut from = order[place].index as usize;
            while from < place {
                from = order[from].index as usize;
            }
            self.found.swap(place, from);
        }
        self.found.truncate(order.len());
        if self.found.len() > self.limit {
            self.last = self.found.last().map(|row| row.delivery().clone());
        }
    }
}

/// A row by the beginning of its id, which nearly always decides: so sorting asks no other memory.
struct Ranked {
    head: u128,
    index: u32,
}

/// Ordered as the ids are: they hold no zero byte.
fn head_of(id: &DeliveryId) -> u128 {
    let mut head = [0; 16];
    let text = id.as_str();
    let length = text.len().min(head.len());
    head[..length].copy_from_slice(&text.as_bytes()[..length]);
    u128::from_be_bytes(head)
}

impl<R: Kept> Keep for List<R> {
    fn next_box(&mut self) -> Option<Viewport> {
        self.viewport.filter(|_| !std::mem::replace(&mut self.looked_in_box, true))
    }

    fn has_all(&self) -> bool {
        true
    }

    fn everywhere(&mut self) {}

    fn take(&mut self, found: &Found<'_>) {
        let id = found.delivery;
        let off_page = self.last.as_ref().is_some_and(|last| id > last) || self.after.as_ref().is_some_and(|after| id <= after);
        if off_page || self.viewport.is_some_and(|view| !view.contains(found.marker.position())) {
            return;
        }
        self.found.push(R::of(found));
        if self.found.len() > 2 * (self.limit + 1) {
            self.sort_out();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    /// A delivery and which time it was met.
    #[derive(Clone, Debug, PartialEq)]
    struct Met(DeliveryId, usize);

    impl Kept for Met {
        fn of(_: &Found<'_>) -> Self {
            unreachable!("nothing is looked for here")
        }

        fn delivery(&self) -> &DeliveryId {
            &self.0
        }
    }

    proptest! {
        /// Some ids differ before their sixteenth byte, some behind it, some not at all, and some are the beginning of others.
        #[test]
        fn sorting_out_keeps_the_least_ids_each_as_it_was_met_last(ids in prop::collection::vec("(order-of-monday-)?[ab\u{e9}]{1,3}", 0..60), limit in 1..40_usize) {
            let met: Vec<Met> = ids.iter().enumerate().map(|(time, id)| Met(DeliveryId::parse(id).unwrap(), time)).collect();
            let least: BTreeMap<_, _> = met.iter().map(|met| (met.0.clone(), met.1)).collect();
            let expected: Vec<Met> = least.into_iter().map(|(id, time)| Met(id, time)).take(limit + 1).collect();
            let mut list = List { viewport: None, looked_in_box: false, limit, after: None, found: met, last: None };
            list.sort_out();
            prop_assert_eq!(&list.found, &expected);
            prop_assert_eq!(list.last, expected.get(limit).map(|last| last.0.clone()));
        }
    }
}
