//! A certificate authority with a server and a client, as files for a server's configuration and for a client.

use std::path::PathBuf;

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose,
};
use tempfile::TempDir;

/// One authority and what it has signed; another one is a stranger to it. The files go when it is dropped.
pub struct Pki {
    dir: TempDir,
    issuer: Issuer<'static, KeyPair>,
}

impl Pki {
    #[must_use]
    pub fn generate() -> Self {
        let mut params = params("test authority", &[]);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let key = KeyPair::generate().unwrap();
        let authority = params.self_signed(&key).unwrap();
        let (dir, issuer) = (TempDir::with_prefix("data-manager-pki-").unwrap(), Issuer::new(params, key));
        let pki = Self { dir, issuer };
        pki.write("ca.pem", &authority.pem());
        pki.renew_server();
        pki.sign("client", &["client.test"], ExtendedKeyUsagePurpose::ClientAuth);
        pki
    }

    /// Gives the server a new key and certificate, in the place of those that it has.
    pub fn renew_server(&self) {
        self.sign("server", &["127.0.0.1", "localhost"], ExtendedKeyUsagePurpose::ServerAuth);
    }

    fn sign(&self, name: &str, names: &[&str], usage: ExtendedKeyUsagePurpose) {
        let mut params = params(name, names);
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![usage];
        let key = KeyPair::generate().unwrap();
        let cert = params.signed_by(&key, &self.issuer).unwrap();
        self.write(&format!("{name}.pem"), &cert.pem());
        self.write(&format!("{name}-key.pem"), &key.serialize_pem());
    }

    fn write(&self, name: &str, text: &str) {
        std::fs::write(self.path(name), text).unwrap();
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// The authority's certificate.
    #[must_use]
    pub fn ca(&self) -> PathBuf {
        self.path("ca.pem")
    }

    /// The client's certificate.
    #[must_use]
    pub fn client_cert(&self) -> PathBuf {
        self.path("client.pem")
    }

    /// The client's key.
    #[must_use]
    pub fn client_key(&self) -> PathBuf {
        self.path("client-key.pem")
    }

    /// Configuration of a server that speaks TLS.
    #[must_use]
    pub fn tls_config(&self) -> String {
        self.config("")
    }

    /// Configuration of a server that speaks TLS, before it says anything, as `tls://` with TLS first.
    #[must_use]
    pub fn tls_first_config(&self) -> String {
        self.config("handshake_first: true")
    }

    /// Configuration of a server that speaks TLS and asks the client for a certificate of this authority.
    #[must_use]
    pub fn mtls_config(&self) -> String {
        self.config("verify: true")
    }

    fn config(&self, more: &str) -> String {
        let (cert, key, ca) = (self.path("server.pem"), self.path("server-key.pem"), self.ca());
        format!("tls {{\n  cert_file: {cert:?}\n  key_file: {key:?}\n  ca_file: {ca:?}\n  {more}\n}}")
    }
}

fn params(name: &str, names: &[&str]) -> CertificateParams {
    let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
    let mut params = CertificateParams::new(names).unwrap();
    params.distinguished_name.push(DnType::CommonName, name);
    params
}
