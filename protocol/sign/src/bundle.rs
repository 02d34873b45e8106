//! A statement with its signatures, as it is stored and sent beside its image.
//!
//! Owns `SignedStatement` and its bytes. Invariant: limits hold for every value that was decoded; nothing in it is believed.
//!
//! Does not judge: that is `decide`.

use dominator_store_core::cbor::{self, Canonical, CborError, Reader, Writer};

use crate::{
    Error, SigningKey, Statement,
    error::check_limit,
    limits::{SIGNATURE_LEN_MAX, SIGNATURES_MAX, SIGNED_LEN_MAX, STATEMENT_LEN_MAX},
};

/// The bytes of a statement, and detached signatures over them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignedStatement {
    /// What was signed: the text of a statement, if all is well.
    pub statement: Vec<u8>,
    /// Files of `ssh-keygen -Y sign`, in any order.
    pub signatures: Vec<Vec<u8>>,
}

impl SignedStatement {
    /// Begins with a statement that nobody has signed.
    pub fn new(statement: &Statement) -> Self {
        Self { statement: statement.encode(), signatures: Vec::new() }
    }

    /// Adds a signature.
    ///
    /// # Errors
    /// When the key cannot sign, or when there are too many signatures.
    pub fn sign(&mut self, key: &SigningKey) -> Result<(), Error> {
        let signature = key.sign(&Statement::decode(&self.statement)?)?;
        self.add(signature)
    }

    /// Adds what `ssh-keygen -Y sign` wrote, unless it is there.
    ///
    /// # Errors
    /// When it is too long, or when there are too many signatures.
    pub fn add(&mut self, signature: Vec<u8>) -> Result<(), Error> {
        check_limit("bytes of a signature", signature.len(), SIGNATURE_LEN_MAX)?;
        if !self.signatures.contains(&signature) {
            check_limit("signatures", self.signatures.len() + 1, SIGNATURES_MAX)?;
            self.signatures.push(signature);
        }
        Ok(())
    }

    /// Returns the bytes to be stored or sent.
    pub fn encode(&self) -> Vec<u8> {
        cbor::encode(self)
    }

    /// Reads what was stored or sent.
    ///
    /// # Errors
    /// When it is anything but what `encode` returns, or beyond a limit.
    pub fn decode(bytes: &[u8]) -> Result<Self, Error> {
        check_limit("bytes of a signed statement", bytes.len(), SIGNED_LEN_MAX)?;
        Ok(cbor::decode(bytes)?)
    }
}

impl Canonical for SignedStatement {
    fn write(&self, writer: &mut Writer) {
        writer.map(2).uint(1).bytes(&self.statement).uint(2).array(self.signatures.len());
        for signature in &self.signatures {
            writer.bytes(signature);
        }
    }

    fn read(reader: &mut Reader<'_>) -> Result<Self, CborError> {
        if reader.map("signed statement", 2)? != 2 || reader.uint()? != 1 {
            return Err(reader.invalid("signed statement"));
        }
        let statement = reader.bytes("statement", STATEMENT_LEN_MAX)?.to_vec();
        if reader.uint()? != 2 {
            return Err(reader.invalid("signed statement"));
        }
        let count = reader.array("signatures", SIGNATURES_MAX)?;
        let signatures = (0..count).map(|_| Ok(reader.bytes("signature", SIGNATURE_LEN_MAX)?.to_vec()));
        let signatures = signatures.collect::<Result<_, CborError>>()?;
        Ok(Self { statement, signatures })
    }
}
