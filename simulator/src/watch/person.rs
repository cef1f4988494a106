//! How a person looks at a map: rests, drags, sometimes steps back or looks at another city. Pure; never talks to a server.

use std::f64::consts::TAU;

use rand::{Rng as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;

use crate::geodesy::Place;
use crate::movers::Movers;
use crate::wire::View;

/// Views sent during one drag, as a page sends them while a finger moves.
pub(super) const STEPS_OF_A_DRAG: u32 = 6;
/// A page this wide shows a span of degrees at the zoom that follows from it.
const PAGE_PX: f64 = 1_200.0;
const TILE_PX: f64 = 512.0;

/// What one person looks at.
#[derive(Debug)]
pub(super) struct Person {
    rng: ChaCha8Rng,
    movers: Movers,
    city: usize,
    span_deg: f64,
    centre: Place,
    /// Twice the span while the person stepped back.
    stepped_back: bool,
    view_id: u32,
    /// What is left of the drag under way, and how far each step of it goes.
    steps: u32,
    step: (f64, f64),
}

impl Person {
    /// Person `index` looks at city `index`, near its centre; who never moves looks at the centre itself.
    pub(super) fn new(movers: Movers, span_deg: f64, seed: u64, index: usize, pans: bool) -> Self {
        let mut rng = ChaCha8Rng::seed_from_u64(seed.wrapping_mul(1_000_003).wrapping_add(index as u64));
        let centre = if pans { near(movers.centre(index), span_deg, &mut rng) } else { movers.centre(index) };
        Self { rng, movers, city: index, span_deg, centre, stepped_back: false, view_id: 0, steps: 0, step: (0.0, 0.0) }
    }

    /// The view as it is now, under a new number.
    pub(super) fn view(&mut self) -> View {
        self.view_id += 1;
        let span = if self.stepped_back { self.span_deg * 2.0 } else { self.span_deg };
        let (half_lat, half_lng) = (span / 2.0, span / 2.0);
        let Place { lat, lng } = self.centre;
        View {
            west: lng - half_lng,
            south: lat - half_lat,
            east: lng + half_lng,
            north: lat + half_lat,
            zoom: zoom_of(span),
            filter: None,
            view_id: self.view_id,
        }
    }

    /// Begins to do something; true when more steps of it follow.
    pub(super) fn act(&mut self) -> bool {
        match self.rng.random_range(0..30) {
            0 => {
                self.city += 1;
                self.centre = near(self.movers.centre(self.city), self.span_deg, &mut self.rng);
            }
            1..=3 => self.stepped_back = !self.stepped_back,
            _ => self.begin_drag(),
        }
        self.steps > 0
    }

    /// Another step of a drag; true when more follow.
    pub(super) fn go_on(&mut self) -> bool {
        if self.steps > 0 {
            self.steps -= 1;
            self.centre = Place { lat: self.centre.lat + self.step.0, lng: self.centre.lng + self.step.1 };
        }
        self.steps > 0
    }

    /// A fifth of the span to all of it, in any direction, but back to the city when it is far away.
    fn begin_drag(&mut self) {
        let centre = self.movers.centre(self.city);
        let (north, east) = (centre.lat - self.centre.lat, centre.lng - self.centre.lng);
        let far = north.hypot(east) > 1.5 * self.span_deg;
        let towards = if far { east.atan2(north) } else { self.rng.random_range(0.0..TAU) };
        let way = self.span_deg * self.rng.random_range(0.2..1.0) / f64::from(STEPS_OF_A_DRAG);
        self.step = (way * towards.cos(), way * towards.sin());
        self.steps = STEPS_OF_A_DRAG;
        self.go_on();
    }
}

fn near(centre: Place, span_deg: f64, rng: &mut ChaCha8Rng) -> Place {
    let mut off = || rng.random_range(-0.5..0.5) * span_deg;
    Place { lat: centre.lat + off(), lng: centre.lng + off() }
}

/// As in `MapLibre`: at zoom 0 the world is one tile wide.
fn zoom_of(span_deg: f64) -> f64 {
    (360.0 / span_deg * PAGE_PX / TILE_PX).log2().clamp(0.0, 24.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn people_stay_near_their_cities_and_equal_seeds_look_at_the_same() {
        let movers = Movers::new(20, 0.05, 1).expect("valid");
        let walk = |seed: u64| {
            let mut person = Person::new(movers, 0.05, seed, 3, true);
            let mut views = vec![person.view()];
            for _ in 0..500 {
                let mut more = person.act();
                views.push(person.view());
                while more {
                    more = person.go_on();
                    views.push(person.view());
                }
                let centre = movers.centre(person.city);
                assert!((person.centre.lat - centre.lat).hypot(person.centre.lng - centre.lng) < 0.2);
            }
            views
        };
        let views = walk(1);
        assert_eq!(views, walk(1));
        assert_ne!(views, walk(2));
        assert!(views.windows(2).all(|pair| pair[1].view_id == pair[0].view_id + 1));
        assert!((views[0].zoom - 14.04).abs() < 0.01 && (views[0].east - views[0].west - 0.05).abs() < 1e-9);
    }
}
