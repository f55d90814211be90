//! What becomes of files, at first and when they change.

use super::*;
use std::os::unix::fs::symlink;

fn load(authority: &Authority) -> Result<Arc<Acceptor>, TlsRefusal> {
    Files::default().acceptor(&authority.listener(TlsVersion::V1_2), Protocol::Http, SystemTime::now())
}

fn refusal(authority: &Authority) -> TlsRefusal {
    load(authority).err().expect("is refused")
}

#[test]
fn files_that_are_not_right_are_refused_with_what_is_wrong() {
    let authority = Authority::new();
    assert!(matches!(refusal(&authority), TlsRefusal::Unreadable { path, .. } if path.ends_with("tls.crt")));
    let (certificate, key) = authority.issue(NAME, (2020, 2090));
    let (other, _) = authority.issue(NAME, (2020, 2090));
    let said = |certificate: &str, key: &str| {
        authority.write(&(certificate.into(), key.into()));
        refusal(&authority).to_string()
    };
    assert!(said(&other, &key).contains("tls.key isn't the key of "));
    assert!(said("", &key).ends_with("tls.crt: it holds no certificate in PEM"));
    assert!(said(&key, &key).ends_with("tls.crt: it holds no certificate in PEM"));
    assert!(said(&certificate, &certificate).contains("tls.key: no usable private key in PEM"));
    assert!(said("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", &key).contains("isn't to be understood"));
    assert!(said(&"#".repeat(files::MAX_FILE as usize + 1), &key).contains("over 1024 KiB"));
    let (expired, its_key) = authority.issue(NAME, (2019, 2021));
    assert!(said(&expired, &its_key).ends_with("the certificate was valid until 2021-01-01 00:00:00 UTC; renew it"));
    let (coming, its_key) = authority.issue(NAME, (2080, 2090));
    assert!(said(&coming, &its_key).contains("not valid before 2080-01-01 00:00:00 UTC"));
    authority.write(&(certificate, key));
    load(&authority).expect("a good pair");
}

#[test]
fn upstream_files_and_names_that_are_not_right_are_refused() {
    let authority = Authority::new();
    let refused = |upstream: &UpstreamTls| Files::default().connector(upstream).err().expect("is refused");
    let full = authority.upstream(None, Verification::Full);
    assert!(matches!(refused(&full), TlsRefusal::NoName));
    assert!(matches!(refused(&authority.upstream(Some("a b"), Verification::Off)), TlsRefusal::BadName(name) if name == "a b"));
    std::fs::write(authority.path("ca.pem"), "nothing").expect("writes");
    assert!(matches!(refused(&authority.upstream(Some(NAME), Verification::Full)), TlsRefusal::NoCertificate { .. }));
    std::fs::remove_file(authority.path("ca.pem")).expect("removes");
    assert!(matches!(refused(&authority.upstream(Some(NAME), Verification::ChainOnly)), TlsRefusal::Unreadable { .. }));
    let unverified = Files::default().connector(&authority.upstream(None, Verification::Off));
    assert!(unverified.is_ok(), "what isn't verified needs no authority");
}

/// The certificate that a client sees, in DER.
async fn seen(authority: &Authority, acceptor: &Acceptor) -> Vec<u8> {
    let (near, far) = pair().await;
    let client = authority.client(&[&rustls::version::TLS13], &[]);
    let (client, server) = tokio::join!(client.connect(name(), near), server::shake(acceptor, far));
    server.expect("a handshake");
    client.expect("a handshake").get_ref().1.peer_certificates().expect("a certificate")[0].to_vec()
}

fn der(pem: &str) -> Vec<u8> {
    use rustls::pki_types::pem::PemObject;
    rustls::pki_types::CertificateDer::from_pem_slice(pem.as_bytes()).expect("a certificate").to_vec()
}

#[test]
fn a_changed_pair_is_used_at_once_and_a_bad_one_leaves_the_old() {
    run(async {
        let (authority, files, now) = (Authority::new(), Files::default(), SystemTime::now());
        let [first, second] = [(2020, 2090), (2020, 2091)].map(|years| authority.issue(NAME, years));
        authority.write(&first);
        let acceptor = files.acceptor(&authority.listener(TlsVersion::V1_2), Protocol::Http, now).expect("a good pair");
        let not_after = || files.shown()[0].not_after;
        let refused = || files.shown()[0].refused.clone();
        assert_eq!(not_after(), Some(3_786_912_000), "the first day of 2090");
        // Half of an exchange: the certificate is there and its key isn't yet.
        std::fs::write(authority.path("tls.crt"), &second.0).expect("writes");
        files.look(now);
        assert_eq!(refused(), [("KeyMismatch", 1)]);
        files.look(now);
        assert_eq!(refused(), [("KeyMismatch", 1)], "one change is refused once");
        assert_eq!(seen(&authority, &acceptor).await, der(&first.0));
        std::fs::write(authority.path("tls.key"), &second.1).expect("writes");
        files.look(now);
        assert_eq!(seen(&authority, &acceptor).await, der(&second.0));
        assert_eq!(not_after(), Some(3_818_448_000), "the first day of 2091");
        authority.write(&authority.issue(NAME, (2019, 2021)));
        files.look(now);
        assert_eq!(refused(), [("KeyMismatch", 1), ("Expired", 1)]);
        std::fs::remove_file(authority.path("tls.key")).expect("removes");
        files.look(now);
        assert_eq!(seen(&authority, &acceptor).await, der(&second.0), "the last good one stays");
        drop(acceptor);
        files.look(now);
        assert!(files.shown().is_empty(), "what nobody uses isn't looked at any more");
    });
}

#[test]
fn a_mounted_secret_is_exchanged_by_its_link() {
    run(async {
        let (authority, files, now) = (Authority::new(), Files::default(), SystemTime::now());
        let [first, second] = [2090, 2091].map(|year| authority.issue(NAME, (2020, year)));
        for (folder, pair) in [("..1", &first), ("..2", &second)] {
            std::fs::create_dir(authority.path(folder)).expect("makes");
            std::fs::write(authority.path(folder).join("tls.crt"), &pair.0).expect("writes");
            std::fs::write(authority.path(folder).join("tls.key"), &pair.1).expect("writes");
        }
        symlink("..1", authority.path("..data")).expect("links");
        for file in ["tls.crt", "tls.key"] {
            symlink(Path::new("..data").join(file), authority.path(file)).expect("links");
        }
        let acceptor = files.acceptor(&authority.listener(TlsVersion::V1_2), Protocol::Http, now).expect("a good pair");
        assert_eq!(seen(&authority, &acceptor).await, der(&first.0));
        symlink("..2", authority.path("..new")).expect("links");
        std::fs::rename(authority.path("..new"), authority.path("..data")).expect("renames");
        files.look(now);
        assert_eq!(seen(&authority, &acceptor).await, der(&second.0));
    });
}

#[test]
fn new_authorities_are_believed_at_once() {
    run(async {
        let (ours, theirs, files) = (Authority::new(), Authority::new(), Files::default());
        let upstream = ours.upstream(Some(NAME), Verification::Full);
        let connector = files.connector(&upstream).expect("good files");
        let acceptor = theirs.acceptor(Protocol::Http, TlsVersion::V1_2);
        let reach = async || {
            let (near, far) = pair().await;
            let said = Said::default();
            tokio::join!(connector.connect(near, Offer::Http2, &said), server::shake(&acceptor, far)).0.map(drop)
        };
        assert_eq!(reach().await, Err(TlsFailure::Certificate));
        std::fs::copy(theirs.path("ca.pem"), ours.path("ca.pem")).expect("copies");
        files.look(SystemTime::now());
        assert_eq!(reach().await, Ok(()));
        std::fs::write(ours.path("ca.pem"), "nothing").expect("writes");
        files.look(SystemTime::now());
        assert_eq!(reach().await, Ok(()), "a bad file leaves the old");
        assert_eq!(files.shown()[0].refused, [("NoCertificate", 1)]);
    });
}

#[test]
fn listeners_with_the_same_files_share_what_is_made_of_them_unless_they_speak_differently() {
    let (authority, files, now) = (Authority::new(), Files::default(), SystemTime::now());
    authority.write(&authority.issue(NAME, (2020, 2090)));
    let listener = authority.listener(TlsVersion::V1_2);
    let made = |protocol, listener: &ListenerTls| files.acceptor(listener, protocol, now).expect("a good pair");
    let first = made(Protocol::Http, &listener);
    assert!(Arc::ptr_eq(&first, &made(Protocol::Http, &listener)));
    assert!(!Arc::ptr_eq(&first, &made(Protocol::Tcp, &listener)));
    assert!(!Arc::ptr_eq(&first, &made(Protocol::Http, &authority.listener(TlsVersion::V1_3))));
}
