//! Reads the file of ways (see `roads/README.md` for its format). Never judges which way is drivable: `derive.mjs` has done that.

use flate2::read::GzDecoder;
use serde::Deserialize;
use thiserror::Error;

#[derive(Debug, Error)]
pub enum RoadsError {
    #[error("the file of roads cannot be read: {0}")]
    Unreadable(#[from] serde_json::Error),
}

/// One street piece of the source: its points in 1e-5 degrees (lat, lng).
#[derive(Clone, Debug)]
pub struct Way {
    pub class: String,
    /// 1: only along the line, -1: only against it, 0: both.
    pub oneway: i8,
    pub maxspeed_kmh: Option<f64>,
    pub points: Vec<(i32, i32)>,
}

#[derive(Deserialize)]
struct File {
    ways: Vec<FileWay>,
}

#[derive(Deserialize)]
struct FileWay {
    c: String,
    o: i8,
    s: Option<f64>,
    p: Vec<i32>,
}

pub fn read_ways(gzipped: &[u8]) -> Result<Vec<Way>, RoadsError> {
    let file: File = serde_json::from_reader(std::io::BufReader::new(GzDecoder::new(gzipped)))?;
    Ok(file.ways.into_iter().map(way).collect())
}

fn way(way: FileWay) -> Way {
    let (mut lat, mut lng) = (0, 0);
    let points = way.p.as_chunks::<2>().0.iter().map(|[dlat, dlng]| {
        lat += dlat;
        lng += dlng;
        (lat, lng)
    });
    Way { points: points.collect(), class: way.c, oneway: way.o, maxspeed_kmh: way.s }
}
