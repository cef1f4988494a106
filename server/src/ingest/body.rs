//! Unpacks a request's body, never beyond the bound. Pure.

use std::io::Read;

use bytes::Bytes;
use thiserror::Error;

/// How a body is packed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Encoding {
    Identity,
    Gzip,
    Zstd,
}

#[derive(Debug, Error)]
pub enum BodyError {
    #[error("at most {max} bytes a request, also after decompression")]
    TooLarge { max: usize },
    #[error("the body is not valid {0}")]
    Corrupt(&'static str),
}

/// Returns the plain body of at most `max` bytes. A bomb costs `max` bytes and no more.
pub fn expand(body: Bytes, encoding: Encoding, max: usize) -> Result<Bytes, BodyError> {
    match encoding {
        Encoding::Identity if body.len() > max => Err(BodyError::TooLarge { max }),
        Encoding::Identity => Ok(body),
        Encoding::Gzip => read(flate2::read::MultiGzDecoder::new(body.as_ref()), max, "gzip"),
        Encoding::Zstd => {
            let mut decoder = zstd::stream::read::Decoder::new(body.as_ref()).map_err(|_broken| BodyError::Corrupt("zstd"))?;
            // A frame may ask for a window of gigabytes; 8 MiB is what its specification tells decoders to support.
            decoder.window_log_max(23).map_err(|_broken| BodyError::Corrupt("zstd"))?;
            read(decoder, max, "zstd")
        }
    }
}

fn read(decoder: impl Read, max: usize, name: &'static str) -> Result<Bytes, BodyError> {
    let mut plain = Vec::new();
    let limit = u64::try_from(max).unwrap_or(u64::MAX).saturating_add(1);
    decoder.take(limit).read_to_end(&mut plain).map_err(|_broken| BodyError::Corrupt(name))?;
    if plain.len() > max { Err(BodyError::TooLarge { max }) } else { Ok(plain.into()) }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    fn gzip(bytes: &[u8]) -> Bytes {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
        encoder.write_all(bytes).expect("in memory");
        encoder.finish().expect("in memory").into()
    }

    #[test]
    fn gzip_and_zstd_are_unpacked_and_bombs_stop_at_the_bound() {
        let zstd = |bytes: &[u8]| Bytes::from(zstd::encode_all(bytes, 3).expect("in memory"));
        let bomb = vec![b' '; 50 << 20];
        for (packed, encoding) in [(gzip(b"hello"), Encoding::Gzip), (zstd(b"hello"), Encoding::Zstd)] {
            assert_eq!(expand(packed, encoding, 100).expect("unpacked").as_ref(), b"hello");
        }
        for (packed, encoding) in [(gzip(&bomb), Encoding::Gzip), (zstd(&bomb), Encoding::Zstd)] {
            assert!(packed.len() < 100_000);
            assert!(matches!(expand(packed, encoding, 1 << 20), Err(BodyError::TooLarge { .. })));
        }
        for encoding in [Encoding::Gzip, Encoding::Zstd] {
            assert!(matches!(expand(Bytes::from_static(b"nonsense"), encoding, 100), Err(BodyError::Corrupt(_))));
        }
    }
}
