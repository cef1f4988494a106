//! Reads the rows of a CSV file. Never judges a row beyond what makes it one.

use super::Rows;
use super::row::{Columns, Field, Texts};

/// Rows in the file's order, numbered from 1; a header that the mapping names but the file lacks is an error.
pub fn read(data: &[u8], columns: &Columns, limit: usize) -> Result<Rows, String> {
    let mut reader = csv::ReaderBuilder::new().flexible(true).from_reader(data);
    let headers = reader.byte_headers().map_err(|error| error.to_string())?.clone();
    let mut mapping: Vec<(Field, usize)> = Vec::new();
    for (name, field) in &columns.0 {
        let index = headers.iter().position(|header| header.trim_ascii() == name.as_bytes());
        mapping.push((*field, index.ok_or_else(|| format!("the file has no column `{name}`; it has {}", names(&headers)))?));
    }
    let mut rows = Rows::default();
    let mut record = csv::ByteRecord::new();
    let mut number = 0;
    while (number as usize) < limit && reader.read_byte_record(&mut record).map_err(|error| error.to_string())? {
        number += 1;
        let start = record.position().map_or(0, csv::Position::byte) as usize;
        let end = reader.position().byte() as usize;
        let raw = data.get(start..end).unwrap_or_default().trim_ascii_end();
        let texts = mapping.iter().filter_map(|(field, index)| Some((*field, std::str::from_utf8(record.get(*index)?).ok()?)));
        rows.push(Texts(texts.collect()).row(raw, number));
    }
    Ok(rows)
}

/// The columns of a CSV file in words.
pub fn columns_of(data: &[u8]) -> String {
    let mut reader = csv::ReaderBuilder::new().flexible(true).from_reader(data);
    reader.byte_headers().map_or_else(|error| error.to_string(), names)
}

fn names(headers: &csv::ByteRecord) -> String {
    let names: Vec<_> = headers.iter().map(|header| String::from_utf8_lossy(header.trim_ascii()).into_owned()).collect();
    names.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_found_by_name_and_quotes_are_understood() {
        let columns: Columns = "id=actor,when=time,y=lat,x=lng,v=speed".parse().expect("valid");
        let data = b"x,y,id,when,v,note\n2.5,1.5,\"bus, 7\",2017-03-21T00:00:31-05:00,4.5,\"a\nb\"\n2,1,b,5,,\n";
        let rows = read(data, &columns, 10).expect("readable").rows;
        assert_eq!((rows[0].actor.as_str(), rows[0].place.lat, rows[0].speed_mps), ("bus, 7", 1.5, Some(4.5)));
        assert_eq!((rows[1].time_ms, rows[1].speed_mps), (5_000, None));
        assert_eq!(read(data, &columns, 1).expect("readable").count(), 1);
        assert_eq!(read(b"x,y\n", &columns, 1).expect_err("columns are missing"), "the file has no column `id`; it has x, y");
    }
}
