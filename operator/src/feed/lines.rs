//! Splits a request's body into lines. Holds at most one unfinished line, and refuses one that is too long before it
//! has been read to its end. Cancel-safe: what was read stays.

use axum::body::Body;
use bytes::{Bytes, BytesMut};
use evenkeel_wire::MAX_LINE;
use http_body_util::BodyExt as _;

/// Why there is no further line.
#[derive(Debug, thiserror::Error)]
pub(super) enum LineError {
    #[error("a line of over {MAX_LINE} bytes")]
    TooLong,
    #[error("the request's body broke off ({0})")]
    Broken(#[source] axum::Error),
}

pub(super) struct Lines {
    body: Body,
    unread: BytesMut,
    searched: usize,
    ended: bool,
}

impl Lines {
    pub(super) fn new(body: Body) -> Self {
        Self { body, unread: BytesMut::new(), searched: 0, ended: false }
    }

    /// The next line without its newline; `None` once the body has ended.
    pub(super) async fn next(&mut self) -> Result<Option<Bytes>, LineError> {
        loop {
            if let Some(at) = self.unread[self.searched..].iter().position(|&byte| byte == b'\n') {
                let mut line = self.unread.split_to(self.searched + at + 1);
                self.searched = 0;
                if line.len() > MAX_LINE {
                    return Err(LineError::TooLong);
                }
                line.truncate(line.len() - 1);
                return Ok(Some(line.freeze()));
            }
            self.searched = self.unread.len();
            if self.unread.len() >= MAX_LINE {
                return Err(LineError::TooLong);
            }
            if self.ended {
                let rest = self.unread.split();
                self.searched = 0;
                return Ok((!rest.is_empty()).then(|| rest.freeze()));
            }
            match self.body.frame().await {
                Some(Ok(frame)) => {
                    if let Some(data) = frame.data_ref() {
                        self.unread.extend_from_slice(data);
                    }
                }
                Some(Err(error)) => return Err(LineError::Broken(error)),
                None => self.ended = true,
            }
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use futures::stream;
    use std::convert::Infallible;

    fn lines(parts: &[&[u8]]) -> Lines {
        let parts: Vec<_> = parts.iter().map(|part| Ok::<_, Infallible>(Bytes::copy_from_slice(part))).collect();
        Lines::new(Body::from_stream(stream::iter(parts)))
    }

    #[tokio::test]
    async fn any_split_of_the_bytes_gives_the_same_lines() {
        for parts in [&[b"one\ntwo\n\nlast".as_slice()][..], &[b"o", b"ne", b"\nt", b"wo\n", b"\n", b"la", b"st"]] {
            let mut lines = lines(parts);
            for expected in ["one", "two", "", "last"] {
                assert_eq!(lines.next().await.unwrap().unwrap(), expected);
            }
            assert!(lines.next().await.unwrap().is_none());
        }
    }

    #[tokio::test]
    async fn a_line_that_is_too_long_is_refused_before_its_end() {
        let half = vec![b'x'; MAX_LINE / 2];
        let mut endless = lines(&[&half, &half, &half]);
        assert!(matches!(endless.next().await, Err(LineError::TooLong)));
        let longest = [&half[1..], &half, b"\n"].concat();
        assert_eq!(lines(&[&longest]).next().await.unwrap().unwrap().len(), MAX_LINE - 1);
    }
}
