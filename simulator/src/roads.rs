//! The road network of a city: junctions, lawful edges with travel times, shortest-time routes. Never moves anybody.

pub mod graph;
pub mod source;

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::sync::Arc;

use rand::Rng;

use crate::geodesy::Place;

use self::graph::{Edge, Graph};
use self::source::{RoadsError, read_ways};

const GOTHENBURG: &[u8] = include_bytes!("../roads/gothenburg.json.gz");

/// No edge is faster than this; the bound that keeps A* exact. 110 km/h is above every limit in the data.
const FASTEST_MPS: f64 = 110.0 / 3.6;

/// A junction of the routable network: every one can be reached from every other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Junction(pub u32);

#[derive(Clone, Debug)]
pub struct Roads {
    graph: Arc<Graph>,
}

/// A way to drive: its points with the distance from the start and the free-flow speed of the piece that ends there.
#[derive(Clone, Debug, PartialEq)]
pub struct Route {
    pub points: Vec<RoutePoint>,
    pub seconds: f64,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RoutePoint {
    pub place: Place,
    pub from_start_m: f64,
    pub speed_mps: f64,
}

impl Route {
    pub fn length_m(&self) -> f64 {
        self.points.last().map_or(0.0, |point| point.from_start_m)
    }
}

impl Roads {
    /// The roads of Gothenburg that this crate carries. (c) `OpenStreetMap` contributors, `ODbL`.
    pub fn gothenburg() -> Result<Self, RoadsError> {
        Ok(Self { graph: Arc::new(Graph::build(&read_ways(GOTHENBURG)?).largest_component()) })
    }

    pub fn junctions(&self) -> usize {
        self.graph.places.len()
    }

    pub fn edges(&self) -> usize {
        self.graph.edges.len()
    }

    pub fn place(&self, junction: Junction) -> Place {
        self.graph.places[junction.0 as usize]
    }

    pub fn random_junction(&self, rng: &mut impl Rng) -> Junction {
        Junction(rng.random_range(0..self.graph.places.len() as u32))
    }

    /// A random junction that is `near_m..far_m` metres from here; after 64 tries the nearest miss.
    pub fn random_junction_around(&self, here: Place, near_m: f64, far_m: f64, rng: &mut impl Rng) -> Junction {
        let mut best = (f64::INFINITY, Junction(0));
        for _ in 0..64 {
            let junction = self.random_junction(rng);
            let distance = here.distance_m(self.place(junction));
            let miss = (near_m - distance).max(distance - far_m);
            if miss <= 0.0 {
                return junction;
            }
            if miss < best.0 {
                best = (miss, junction);
            }
        }
        best.1
    }

    /// The lawful way of least time by A*; `None` only if there is none, which cannot be inside one strongly connected component.
    pub fn route(&self, from: Junction, to: Junction) -> Option<Route> {
        let goal = self.place(to);
        let count = self.graph.places.len();
        let mut best = vec![f64::INFINITY; count];
        let mut arrived_by = vec![u32::MAX; count];
        let mut open = BinaryHeap::new();
        best[from.0 as usize] = 0.0;
        open.push(Reverse((Seconds(0.0), from.0)));
        while let Some(Reverse((Seconds(estimate), node))) = open.pop() {
            if node == to.0 {
                return Some(self.unwind(from, to, &arrived_by, best[to.0 as usize]));
            }
            let spent = best[node as usize];
            if estimate > spent + self.at_least_s(node, goal) + 1e-9 {
                continue;
            }
            for index in self.graph.out(node) {
                let edge = &self.graph.edges[index];
                let seconds = spent + edge.seconds;
                if seconds < best[edge.to as usize] {
                    best[edge.to as usize] = seconds;
                    arrived_by[edge.to as usize] = index as u32;
                    open.push(Reverse((Seconds(seconds + self.at_least_s(edge.to, goal)), edge.to)));
                }
            }
        }
        None
    }

    fn at_least_s(&self, node: u32, goal: Place) -> f64 {
        self.graph.places[node as usize].distance_m(goal) / FASTEST_MPS * 0.99
    }

    fn unwind(&self, from: Junction, to: Junction, arrived_by: &[u32], seconds: f64) -> Route {
        let mut path: Vec<&Edge> = Vec::new();
        let mut node = to.0;
        while node != from.0 {
            let edge = &self.graph.edges[arrived_by[node as usize] as usize];
            path.push(edge);
            node = edge.from;
        }
        let mut points = vec![RoutePoint { place: self.place(from), from_start_m: 0.0, speed_mps: 0.0 }];
        let (mut last, mut from_start_m) = (self.place(from), 0.0);
        for edge in path.into_iter().rev() {
            for place in self.graph.shape(edge) {
                from_start_m += last.distance_m(place);
                last = place;
                points.push(RoutePoint { place, from_start_m, speed_mps: edge.speed_mps });
            }
        }
        Route { points, seconds }
    }
}

/// Orders travel times in the heap; none is ever NaN.
#[derive(Clone, Copy, Debug, PartialEq, PartialOrd)]
struct Seconds(f64);

impl Eq for Seconds {}

#[expect(clippy::derive_ord_xor_partial_ord, reason = "times are finite, where the derived partial order and total_cmp agree")]
impl Ord for Seconds {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.0.total_cmp(&other.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::SeedableRng;
    use rand_chacha::ChaCha8Rng;
    use std::collections::HashSet;

    #[test]
    fn most_of_gothenburg_is_one_network_and_every_route_in_it_exists() {
        let roads = Roads::gothenburg().expect("the file that is compiled in");
        assert!(roads.junctions() > 8_000, "{}", roads.junctions());
        let mut rng = ChaCha8Rng::seed_from_u64(1);
        for _ in 0..60 {
            let (from, to) = (roads.random_junction(&mut rng), roads.random_junction(&mut rng));
            let route = roads.route(from, to).expect("one strongly connected component");
            assert_eq!(route.points.first().map(|p| p.place), Some(roads.place(from)));
            assert_eq!(route.points.last().map(|p| p.place), Some(roads.place(to)));
            assert!(route.length_m() + 1.0 >= roads.place(from).distance_m(roads.place(to)));
        }
    }

    #[test]
    fn a_star_finds_the_same_time_as_a_search_without_a_goal() {
        let roads = Roads::gothenburg().expect("the file that is compiled in");
        let mut rng = ChaCha8Rng::seed_from_u64(2);
        let from = roads.random_junction(&mut rng);
        let all = dijkstra(&roads, from);
        for _ in 0..25 {
            let to = roads.random_junction(&mut rng);
            let route = roads.route(from, to).expect("connected");
            assert!((route.seconds - all[to.0 as usize]).abs() < 1e-6);
        }
    }

    #[test]
    fn no_route_drives_against_a_one_way_street() {
        let ways = read_ways(GOTHENBURG).expect("the file that is compiled in");
        let mut lawful: HashSet<[(i32, i32); 2]> = HashSet::new();
        for way in &ways {
            for pair in way.points.windows(2) {
                if way.oneway >= 0 {
                    lawful.insert([pair[0], pair[1]]);
                }
                if way.oneway <= 0 {
                    lawful.insert([pair[1], pair[0]]);
                }
            }
        }
        let key = |place: Place| ((place.lat * 1e5).round() as i32, (place.lng * 1e5).round() as i32);
        let roads = Roads::gothenburg().expect("the file that is compiled in");
        let mut rng = ChaCha8Rng::seed_from_u64(3);
        for _ in 0..60 {
            let route = roads.route(roads.random_junction(&mut rng), roads.random_junction(&mut rng)).expect("connected");
            for pair in route.points.windows(2) {
                assert!(lawful.contains(&[key(pair[0].place), key(pair[1].place)]), "{pair:?}");
            }
        }
    }

    fn dijkstra(roads: &Roads, from: Junction) -> Vec<f64> {
        let mut best = vec![f64::INFINITY; roads.junctions()];
        best[from.0 as usize] = 0.0;
        let mut open = BinaryHeap::from([Reverse((Seconds(0.0), from.0))]);
        while let Some(Reverse((Seconds(spent), node))) = open.pop() {
            for index in roads.graph.out(node) {
                let edge = &roads.graph.edges[index];
                if spent + edge.seconds < best[edge.to as usize] {
                    best[edge.to as usize] = spent + edge.seconds;
                    open.push(Reverse((Seconds(spent + edge.seconds), edge.to)));
                }
            }
        }
        best
    }
}
