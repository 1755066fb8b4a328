//! Ways to say who one is: each as the server's configuration and what a client needs for it.

use nkeys::KeyPair;
use serde_json::{Value, json};

pub const TOKEN: &str = "s3cr3t-token";
pub const USER: &str = "publisher";
pub const PASSWORD: &str = "s3cr3t-password";

/// Configuration of a server that asks for `TOKEN`.
#[must_use]
pub fn token_config() -> String {
    format!("authorization {{ token: \"{TOKEN}\" }}")
}

/// Configuration of a server that asks for `USER` and `PASSWORD`.
#[must_use]
pub fn password_config() -> String {
    format!("authorization {{ users: [ {{ user: \"{USER}\", password: \"{PASSWORD}\" }} ] }}")
}

/// A user known by a key.
pub struct Nkey {
    /// What the client signs with; starts with `SU`.
    pub seed: String,
    /// What the server knows; starts with `U`.
    pub public: String,
}

impl Nkey {
    #[must_use]
    pub fn generate() -> Self {
        let pair = KeyPair::new_user();
        Self { seed: pair.seed().unwrap(), public: pair.public_key() }
    }

    /// Configuration of a server that knows this user.
    #[must_use]
    pub fn config(&self) -> String {
        format!("authorization {{ users: [ {{ nkey: {} }} ] }}", self.public)
    }
}

/// An operator with one account for users and the system's account: decentralized authentication by JWT.
pub struct Operator {
    operator: KeyPair,
    account: KeyPair,
    system: KeyPair,
}

/// A user that an account has signed.
pub struct User {
    pub jwt: String,
    pub seed: String,
    /// Both as the text of a `.creds` file.
    pub creds: String,
}

impl Operator {
    #[must_use]
    pub fn generate() -> Self {
        Self { operator: KeyPair::new_operator(), account: KeyPair::new_account(), system: KeyPair::new_account() }
    }

    /// Configuration of a server that trusts this operator; its accounts are resolved from memory.
    #[must_use]
    pub fn config(&self) -> String {
        let operator =
            sign(&self.operator, &self.operator, "operator", None, json!({"type": "operator", "version": 2}));
        let (account, system) = (self.account.public_key(), self.system.public_key());
        let account_jwt = sign(&self.operator, &self.account, "account", None, account_claims(true));
        let system_jwt = sign(&self.operator, &self.system, "SYS", None, account_claims(false));
        format!(
            "operator: {operator}\nsystem_account: {system}\nresolver: MEMORY\n\
             resolver_preload: {{\n  {account}: {account_jwt}\n  {system}: {system_jwt}\n}}"
        )
    }

    /// A new user of the account; `expires` in seconds of the Unix epoch.
    #[must_use]
    pub fn user(&self, expires: Option<u64>) -> User {
        self.user_with(expires, json!({}))
    }

    /// A new user of the account; `claims` (such as `{"pub": {"deny": ["a.>"]}}`) replace those of a free one.
    #[must_use]
    pub fn user_with(&self, expires: Option<u64>, claims: Value) -> User {
        let pair = KeyPair::new_user();
        let mut nats =
            json!({"pub": {}, "sub": {}, "subs": -1, "data": -1, "payload": -1, "type": "user", "version": 2});
        for (name, value) in claims.as_object().unwrap() {
            nats[name] = value.clone();
        }
        let jwt = sign(&self.account, &pair, USER, expires, nats);
        let seed = pair.seed().unwrap();
        let creds = format!(
            "-----BEGIN NATS USER JWT-----\n{jwt}\n------END NATS USER JWT------\n\n\
             ************************* IMPORTANT *************************\n\
             NKEY Seed printed below can be used to sign and prove identity.\n\n\
             -----BEGIN USER NKEY SEED-----\n{seed}\n------END USER NKEY SEED------\n\n\
             *************************************************************\n"
        );
        User { jwt, seed, creds }
    }
}

fn account_claims(jetstream: bool) -> Value {
    let mut limits = json!({
        "subs": -1, "data": -1, "payload": -1, "imports": -1, "exports": -1, "wildcards": true, "conn": -1, "leaf": -1,
    });
    if jetstream {
        for limit in ["mem_storage", "disk_storage", "streams", "consumer"] {
            limits[limit] = json!(-1);
        }
    }
    let open = json!({"pub": {}, "sub": {}});
    json!({"limits": limits, "default_permissions": open, "type": "account", "version": 2})
}

/// A JWT about `subject`, signed by `issuer`.
fn sign(issuer: &KeyPair, subject: &KeyPair, name: &str, expires: Option<u64>, nats: Value) -> String {
    let header = json!({"typ": "JWT", "alg": "ed25519-nkey"});
    let id = format!("{:032X}", fastrand::u128(..));
    let mut claims = json!({
        // A moment that is past on every machine, however its clock stands.
        "jti": id, "iat": 1_700_000_000, "iss": issuer.public_key(), "name": name, "sub": subject.public_key(),
        "nats": nats,
    });
    if let Some(expires) = expires {
        claims["exp"] = json!(expires);
    }
    let signed = format!("{}.{}", base64url(header.to_string().as_bytes()), base64url(claims.to_string().as_bytes()));
    let signature = base64url(&issuer.sign(signed.as_bytes()).unwrap());
    format!("{signed}.{signature}")
}

/// Base64 in the alphabet of URLs, without padding.
pub fn base64url(bytes: &[u8]) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for chunk in bytes.chunks(3) {
        let word = chunk.iter().fold(0_u32, |word, byte| word << 8 | u32::from(*byte)) << (8 * (3 - chunk.len()));
        for place in 0..=chunk.len() {
            text.push(char::from(ALPHABET[(word >> (18 - 6 * place) & 63) as usize]));
        }
    }
    text
}
