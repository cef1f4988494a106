//! Reads the track points of a GPX file. The actor is the track's name, else the file's. Never reads routes or waypoints.

use quick_xml::Reader;
use quick_xml::events::{BytesStart, Event};

use super::Rows;
use super::row::{Field, Texts};

/// The point being read: where its bytes start, and its texts.
#[derive(Default)]
struct Point {
    start: usize,
    lat: String,
    lng: String,
    time: String,
    altitude: String,
    speed: String,
}

/// Points in the file's order, numbered from 1.
pub fn read(data: &[u8], file_name: &str, limit: usize) -> Result<Rows, String> {
    let mut reader = Reader::from_reader(data);
    let mut rows = Rows::default();
    let mut track = file_name.to_owned();
    let mut point: Option<Point> = None;
    let mut path: Vec<String> = Vec::new();
    while (rows.count() as usize) < limit {
        let before = reader.buffer_position() as usize;
        match reader.read_event().map_err(|error| error.to_string())? {
            Event::Eof => break,
            Event::Start(tag) => {
                path.push(name_of(&tag));
                match path.last().map(String::as_str) {
                    Some("trk") => file_name.clone_into(&mut track),
                    Some("trkpt") => point = Some(point_of(&tag, before)),
                    _ => {}
                }
            }
            Event::Text(text) => {
                let text = text.decode().map_err(|error| error.to_string())?;
                take_text(&path, text.trim(), &mut point, &mut track);
            }
            Event::End(_) => {
                let ended = path.pop();
                if ended.as_deref() == Some("trkpt")
                    && let Some(point) = point.take()
                {
                    let raw = &data[point.start..reader.buffer_position() as usize];
                    let number = rows.count() + 1;
                    rows.push(texts_of(&point, &track).row(raw, number));
                }
            }
            Event::Empty(tag) if name_of(&tag) == "trkpt" => rows.push(Err("no time".into())),
            _ => {}
        }
    }
    Ok(rows)
}

fn name_of(tag: &BytesStart<'_>) -> String {
    String::from_utf8_lossy(tag.local_name().as_ref()).into_owned()
}

fn point_of(tag: &BytesStart<'_>, start: usize) -> Point {
    let attribute =
        |name: &str| tag.try_get_attribute(name).ok().flatten().map_or_else(String::new, |a| String::from_utf8_lossy(&a.value).into_owned());
    Point { start, lat: attribute("lat"), lng: attribute("lon"), ..Point::default() }
}

fn take_text(path: &[String], text: &str, point: &mut Option<Point>, track: &mut String) {
    let parent = path.len().checked_sub(2).map_or("", |index| path[index].as_str());
    match (path.last().map(String::as_str), point) {
        (Some("time"), Some(point)) => text.clone_into(&mut point.time),
        (Some("ele"), Some(point)) => text.clone_into(&mut point.altitude),
        (Some("speed"), Some(point)) => text.clone_into(&mut point.speed),
        (Some("name"), None) if parent == "trk" && !text.is_empty() => text.clone_into(track),
        _ => {}
    }
}

fn texts_of<'a>(point: &'a Point, track: &'a str) -> Texts<'a> {
    Texts(vec![
        (Field::Actor, track),
        (Field::Time, &point.time),
        (Field::Lat, &point.lat),
        (Field::Lng, &point.lng),
        (Field::Altitude, &point.altitude),
        (Field::Speed, &point.speed),
    ])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn track_points_become_rows_of_the_named_track() {
        let gpx = br#"<?xml version="1.0"?><gpx xmlns="http://www.topografix.com/GPX/1/1"><trk><name>van 3</name><trkseg>
            <trkpt lat="57.7" lon="11.9"><ele>12.5</ele><time>2026-01-02T03:04:05Z</time></trkpt>
            <trkpt lat="57.8" lon="11.9"><name>x</name></trkpt>
            </trkseg></trk><trk><trkseg><trkpt lat="1" lon="2"><time>2026-01-02T03:04:06Z</time></trkpt></trkseg></trk></gpx>"#;
        let rows = read(gpx, "file", 10).expect("readable");
        assert_eq!((rows.count(), rows.unreadable.get("no time")), (3, Some(&1)));
        assert_eq!((rows.rows[0].actor.as_str(), rows.rows[0].altitude_m, rows.rows[0].place.lat), ("van 3", Some(12.5), 57.7));
        assert_eq!(rows.rows[1].actor, "file");
    }
}
