//! The name that a client asks for, read from the first bytes of its connection without ending TLS (RFC 8446, sections 4.1.2 and
//! 5.1; RFC 6066, section 3). Pure and strict: what breaks a rule is a fault, not a name; any split of the bytes gives the same.

use std::borrow::Cow;

/// The longest hello that is read, heads of records included. Those that are seen have up to 2 KiB.
pub(crate) const MAX_HELLO: usize = 16 * 1024;

/// What a whole hello says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Hello {
    /// The server's name, in lower case, if the client sends one.
    pub(crate) server_name: Option<String>,
}

/// What is wrong with a hello.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum HelloFault {
    /// The first bytes are of no handshake's record.
    #[error("it is no TLS")]
    NoTls,
    /// The first message is another one.
    #[error("the handshake doesn't begin with a ClientHello")]
    OtherMessage,
    /// A record, or something within the hello, has a length that it cannot have.
    #[error("a length in the ClientHello is wrong")]
    Length,
    /// The hello is longer than [`MAX_HELLO`].
    #[error("the ClientHello is over {} KiB", MAX_HELLO / 1024)]
    TooLong,
    /// There is more than one list of names, or not exactly one name in it.
    #[error("the ClientHello doesn't name one server")]
    Names,
    /// The name is none.
    #[error("the ClientHello's server name is no host name")]
    BadName,
}

/// Reads the hello that `bytes` begin with; `None`: more bytes are needed.
pub(crate) fn parse(bytes: &[u8]) -> Result<Option<Hello>, HelloFault> {
    let bytes = &bytes[..bytes.len().min(MAX_HELLO)];
    match gather(bytes)? {
        Some(hello) => client_hello(&hello).map(Some),
        None if bytes.len() == MAX_HELLO => Err(HelloFault::TooLong),
        None => Ok(None),
    }
}

/// The body of the first handshake message, put together where it comes in several records.
fn gather(mut bytes: &[u8]) -> Result<Option<Cow<'_, [u8]>>, HelloFault> {
    const HANDSHAKE: u8 = 22;
    const MAJOR_VERSION: u8 = 3;
    const MAX_RECORD: usize = 1 << 14;
    let mut message = Cow::Borrowed(&[][..]);
    loop {
        // Faults show as soon as the bytes are there that make them.
        if !matches!(bytes, [] | [HANDSHAKE] | [HANDSHAKE, MAJOR_VERSION, ..]) {
            return Err(HelloFault::NoTls);
        }
        let Some((&[_, _, _, high, low], rest)) = bytes.split_first_chunk() else { return Ok(None) };
        let length = usize::from(u16::from_be_bytes([high, low]));
        if length == 0 || length > MAX_RECORD {
            return Err(HelloFault::Length);
        }
        let fragment = &rest[..length.min(rest.len())];
        match message.is_empty() {
            true => message = Cow::Borrowed(fragment),
            false => message.to_mut().extend_from_slice(fragment),
        }
        if let Some(length) = message_length(&message)?
            && let Some(whole) = 4usize.checked_add(length).filter(|whole| *whole <= message.len())
        {
            return Ok(Some(match message {
                Cow::Borrowed(message) => Cow::Borrowed(&message[4..whole]),
                Cow::Owned(message) => Cow::Owned(message[4..whole].to_vec()),
            }));
        }
        let Some(next) = rest.get(length..) else { return Ok(None) };
        bytes = next;
    }
}

/// The length of a message that begins like this, once that is known.
fn message_length(message: &[u8]) -> Result<Option<usize>, HelloFault> {
    const CLIENT_HELLO: u8 = 1;
    if !matches!(message, [] | [CLIENT_HELLO, ..]) {
        return Err(HelloFault::OtherMessage);
    }
    let Some(&[_, high, middle, low]) = message.first_chunk() else { return Ok(None) };
    let length = u32::from_be_bytes([0, high, middle, low]) as usize;
    if length > MAX_HELLO { Err(HelloFault::TooLong) } else { Ok(Some(length)) }
}

fn client_hello(body: &[u8]) -> Result<Hello, HelloFault> {
    /// The version and the client's random bytes.
    const FIXED: usize = 2 + 32;
    const SERVER_NAME: u16 = 0;
    let rest = body.get(FIXED..).ok_or(HelloFault::Length)?;
    let (session, rest) = vector8(rest)?;
    let (ciphers, rest) = vector16(rest)?;
    let (compressions, rest) = vector8(rest)?;
    if session.len() > 32 || ciphers.is_empty() || !ciphers.len().is_multiple_of(2) || compressions.is_empty() {
        return Err(HelloFault::Length);
    }
    if rest.is_empty() {
        return Ok(Hello { server_name: None });
    }
    let (mut extensions, rest) = vector16(rest)?;
    if !rest.is_empty() {
        return Err(HelloFault::Length);
    }
    let mut names = None;
    while !extensions.is_empty() {
        let (&[high, low], rest) = extensions.split_first_chunk().ok_or(HelloFault::Length)?;
        let (contents, rest) = vector16(rest)?;
        if u16::from_be_bytes([high, low]) == SERVER_NAME && names.replace(contents).is_some() {
            return Err(HelloFault::Names);
        }
        extensions = rest;
    }
    Ok(Hello { server_name: names.map(server_name).transpose()? })
}

/// The one name of the list.
fn server_name(extension: &[u8]) -> Result<String, HelloFault> {
    const HOST_NAME: u8 = 0;
    let (list, rest) = vector16(extension)?;
    let (&[kind], name) = list.split_first_chunk().ok_or(HelloFault::Names)?;
    let (name, others) = vector16(name)?;
    if !rest.is_empty() {
        return Err(HelloFault::Length);
    }
    if kind != HOST_NAME || !others.is_empty() {
        return Err(HelloFault::Names);
    }
    host_name(name).ok_or(HelloFault::BadName)
}

/// Labels of letters, digits, hyphens and, as some have them, underscores; without the dot at the end.
fn host_name(name: &[u8]) -> Option<String> {
    const MAX_NAME: usize = 253;
    const MAX_LABEL: usize = 63;
    let is_label = |label: &[u8]| {
        (1..=MAX_LABEL).contains(&label.len()) && label.iter().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(byte))
    };
    let valid = name.len() <= MAX_NAME && name.split(|byte| *byte == b'.').all(is_label);
    valid.then(|| name.iter().map(|byte| char::from(byte.to_ascii_lowercase())).collect())
}

/// A vector whose length is one byte, and what follows it.
fn vector8(bytes: &[u8]) -> Result<(&[u8], &[u8]), HelloFault> {
    let (&[length], rest) = bytes.split_first_chunk().ok_or(HelloFault::Length)?;
    rest.split_at_checked(length.into()).ok_or(HelloFault::Length)
}

/// A vector whose length is two bytes, and what follows it.
fn vector16(bytes: &[u8]) -> Result<(&[u8], &[u8]), HelloFault> {
    let (&[high, low], rest) = bytes.split_first_chunk().ok_or(HelloFault::Length)?;
    rest.split_at_checked(u16::from_be_bytes([high, low]).into()).ok_or(HelloFault::Length)
}
