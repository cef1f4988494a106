//! Junctions and the directed edges between them. Never searches.

use std::collections::HashMap;
use std::ops::Range;

use crate::geodesy::Place;

use super::source::Way;

/// Edges lie sorted by the junction they leave; `first[j]..first[j + 1]` are those of junction `j`.
#[derive(Clone, Debug, Default)]
pub struct Graph {
    pub places: Vec<Place>,
    pub edges: Vec<Edge>,
    first: Vec<u32>,
    shapes: Vec<Place>,
}

/// A drivable direction of a piece of street between two junctions.
#[derive(Clone, Debug)]
pub struct Edge {
    pub from: u32,
    pub to: u32,
    pub seconds: f64,
    pub speed_mps: f64,
    /// Its points without the first, in the order of the way; a backward edge reads the way's points in reverse.
    shape: Range<u32>,
    backward: bool,
}

impl Graph {
    /// Splits ways where they meet and gives each piece the directions it is open in.
    pub fn build(ways: &[Way]) -> Self {
        let mut uses: HashMap<(i32, i32), u32> = HashMap::new();
        for way in ways {
            for (index, point) in way.points.iter().enumerate() {
                let end = index == 0 || index + 1 == way.points.len();
                *uses.entry(*point).or_default() += if end { 2 } else { 1 };
            }
        }
        let mut graph = Self::default();
        let mut ids: HashMap<(i32, i32), u32> = HashMap::new();
        for way in ways {
            let mut start = 0;
            for end in 1..way.points.len() {
                if uses[&way.points[end]] > 1 {
                    graph.add_piece(&way.points[start..=end], way, &mut ids);
                    start = end;
                }
            }
        }
        graph.index();
        graph
    }

    fn add_piece(&mut self, points: &[(i32, i32)], way: &Way, ids: &mut HashMap<(i32, i32), u32>) {
        let speed_mps = speed_mps(&way.class, way.maxspeed_kmh);
        let begin = self.shapes.len() as u32;
        self.shapes.extend(points.iter().map(|&point| place(point)));
        let shape = begin..self.shapes.len() as u32;
        let length_m: f64 = points.windows(2).map(|pair| place(pair[0]).distance_m(place(pair[1]))).sum();
        let mut junction = |point: (i32, i32)| {
            *ids.entry(point).or_insert_with(|| {
                self.places.push(place(point));
                self.places.len() as u32 - 1
            })
        };
        let (from, to) = (junction(points[0]), junction(points[points.len() - 1]));
        let seconds = length_m / speed_mps;
        if way.oneway >= 0 {
            self.edges.push(Edge { from, to, seconds, speed_mps, shape: shape.clone(), backward: false });
        }
        if way.oneway <= 0 {
            self.edges.push(Edge { from: to, to: from, seconds, speed_mps, shape, backward: true });
        }
    }

    fn index(&mut self) {
        self.edges.sort_by_key(|edge| edge.from);
        self.first = vec![0; self.places.len() + 1];
        for edge in &self.edges {
            self.first[edge.from as usize + 1] += 1;
        }
        for node in 1..self.first.len() {
            self.first[node] += self.first[node - 1];
        }
    }

    /// Indices of the edges that leave a junction.
    pub fn out(&self, node: u32) -> Range<usize> {
        self.first[node as usize] as usize..self.first[node as usize + 1] as usize
    }

    /// The points of an edge in driving order, without the first.
    pub fn shape(&self, edge: &Edge) -> Vec<Place> {
        let points = &self.shapes[edge.shape.start as usize..edge.shape.end as usize];
        if edge.backward { points.iter().rev().skip(1).copied().collect() } else { points[1..].to_vec() }
    }

    /// Only the junctions that can all reach each other (the largest strongly connected component), renumbered.
    #[must_use]
    pub fn largest_component(&self) -> Self {
        let component = components(self);
        let mut sizes: HashMap<u32, usize> = HashMap::new();
        for id in &component {
            *sizes.entry(*id).or_default() += 1;
        }
        let largest = sizes.into_iter().max_by_key(|&(id, size)| (size, id)).map_or(0, |(id, _)| id);
        let mut renumbered = vec![u32::MAX; self.places.len()];
        let mut kept = Self { shapes: self.shapes.clone(), ..Self::default() };
        for (node, id) in component.iter().enumerate() {
            if *id == largest {
                renumbered[node] = kept.places.len() as u32;
                kept.places.push(self.places[node]);
            }
        }
        for edge in &self.edges {
            let (from, to) = (renumbered[edge.from as usize], renumbered[edge.to as usize]);
            if from != u32::MAX && to != u32::MAX {
                kept.edges.push(Edge { from, to, ..edge.clone() });
            }
        }
        kept.index();
        kept
    }
}

/// The strongly connected component of each junction (Kosaraju's two passes, without recursion).
fn components(graph: &Graph) -> Vec<u32> {
    let count = graph.places.len();
    let mut order = Vec::with_capacity(count);
    let mut seen = vec![false; count];
    for root in 0..count as u32 {
        if std::mem::replace(&mut seen[root as usize], true) {
            continue;
        }
        let mut stack = vec![(root, graph.out(root))];
        while let Some((node, edges)) = stack.last_mut() {
            if let Some(index) = edges.next() {
                let to = graph.edges[index].to;
                if !std::mem::replace(&mut seen[to as usize], true) {
                    stack.push((to, graph.out(to)));
                }
            } else {
                order.push(*node);
                stack.pop();
            }
        }
    }
    let mut into: Vec<Vec<u32>> = vec![Vec::new(); count];
    for edge in &graph.edges {
        into[edge.to as usize].push(edge.from);
    }
    let mut component = vec![u32::MAX; count];
    for &root in order.iter().rev() {
        let mut stack = vec![root];
        while let Some(node) = stack.pop() {
            if component[node as usize] == u32::MAX {
                component[node as usize] = root;
                stack.extend(into[node as usize].iter().filter(|&&from| component[from as usize] == u32::MAX));
            }
        }
    }
    component
}

/// Free-flow speed: the sign's if there is one, else what the class of road allows in a Swedish town; a courier rarely drives the full limit.
fn speed_mps(class: &str, maxspeed_kmh: Option<f64>) -> f64 {
    let by_class = match class {
        "motorway" => 90.0,
        "trunk" => 70.0,
        "motorway_link" | "trunk_link" | "primary" => 60.0,
        "secondary" | "primary_link" | "secondary_link" => 50.0,
        "tertiary" | "tertiary_link" | "unclassified" => 45.0,
        "residential" => 30.0,
        "living_street" => 10.0,
        _ => 15.0,
    };
    maxspeed_kmh.unwrap_or(by_class).clamp(5.0, 110.0) * 0.9 / 3.6
}

fn place((lat, lng): (i32, i32)) -> Place {
    Place { lat: f64::from(lat) / 1e5, lng: f64::from(lng) / 1e5 }
}
