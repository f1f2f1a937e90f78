//! How the service is to keep an object, in its own words.

use crate::store::object::LockMode;
use crate::store::s3::put::Upload;
use aws_sdk_s3::primitives::DateTime;
use aws_sdk_s3::types::{ObjectLockMode, ServerSideEncryption, StorageClass};
use std::time::SystemTime;

impl Upload {
    pub(super) fn storage_class(&self) -> Option<StorageClass> {
        self.options.kept.storage_class.as_deref().map(StorageClass::from)
    }

    /// `AES256`, `aws:kms` or `aws:kms=KEY`.
    pub(super) fn encryption(&self) -> Option<ServerSideEncryption> {
        let name = self.options.kept.sse.as_deref()?;
        Some(name.split_once('=').map_or(name, |(kind, _)| kind).into())
    }

    pub(super) fn encryption_key(&self) -> Option<String> {
        self.options.kept.sse.as_deref()?.split_once('=').map(|(_, key)| key.to_owned())
    }

    pub(super) fn lock_mode(&self) -> Option<ObjectLockMode> {
        self.options.kept.object_lock.map(|lock| match lock.mode {
            LockMode::Governance => ObjectLockMode::Governance,
            LockMode::Compliance => ObjectLockMode::Compliance,
        })
    }

    pub(super) fn retain_until(&self) -> Option<DateTime> {
        self.options.kept.object_lock.map(|lock| DateTime::from(SystemTime::now() + lock.duration))
    }
}
