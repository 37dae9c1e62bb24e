//! Certificates as an operator would have them: an authority of its own, and a server's certificate
//! for `localhost`.

use anyhow::Result;
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, KeyUsagePurpose};
use uuid::Uuid;

/// An authority and what it has signed, all as PEM.
#[derive(Clone, Debug)]
pub struct Certificates {
    /// What clients are to trust.
    pub authority: String,
    /// The certificate of a server named `localhost`.
    pub server: String,
    /// Its private key.
    pub key: String,
}

impl Certificates {
    /// A new authority, which nobody trusts yet.
    pub fn new() -> Result<Self> {
        let mut authority = CertificateParams::new(Vec::new())?;
        authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        authority.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        // With one name for all of them, a stranger's signature would be tried, and refused in words
        // that depend on its bytes.
        let name = format!("The tests' own authority {}", Uuid::new_v4().simple());
        authority.distinguished_name.push(DnType::CommonName, name);
        let authority_key = KeyPair::generate()?;
        let certificate = authority.self_signed(&authority_key)?;
        let issuer = Issuer::new(authority, authority_key);
        let key = KeyPair::generate()?;
        let server = CertificateParams::new(vec!["localhost".to_owned()])?;
        let server = server.signed_by(&key, &issuer)?;
        Ok(Self { authority: certificate.pem(), server: server.pem(), key: key.serialize_pem() })
    }
}
