//! OS releases: what is known of them; their encrypted images are files.

use release::version::OsVersion;
use sqlx::FromRow;

use super::{ChangeError, Listed, Page, Store, StoreError, approvals, is_duplicate, release_metadata, row, unix_ms};
use crate::fleet::{NewRelease, Release, ReleaseId, ReleaseImage, Rollout, Rule};
use crate::repository::MetadataFile;

const ONE: &str = "SELECT * FROM releases WHERE id = $1";
const ALL: &str = "SELECT * FROM releases ORDER BY uploaded_ms DESC, id LIMIT $1 OFFSET $2";

#[derive(FromRow)]
struct Row {
    id: String,
    product: String,
    version: String,
    security_epoch: i64,
    uploader_id: String,
    uploaded_ms: i64,
}

impl Row {
    fn into_release(self, images: Vec<ReleaseImage>) -> Result<Release, StoreError> {
        Ok(Release {
            id: row::text("releases.id", &self.id)?,
            product: self.product,
            version: row::text("releases.version", &self.version)?,
            security_epoch: row::count("releases.security_epoch", self.security_epoch)?,
            uploader: row::text("releases.uploader_id", &self.uploader_id)?,
            uploaded_ms: self.uploaded_ms,
            images,
        })
    }
}

impl Store {
    /// Whether the product has a release of this version.
    ///
    /// # Errors
    /// The state could not be read.
    pub async fn has_release(&self, product: &str, version: OsVersion) -> Result<bool, StoreError> {
        let found = sqlx::query_scalar::<_, String>("SELECT id FROM releases WHERE product = $1 AND version = $2")
            .bind(product)
            .bind(version.to_string())
            .fetch_optional(self.readers())
            .await?;
        Ok(found.is_some())
    }

    /// Keeps a release, and the metadata that came with it. Its encrypted images must be in their files, durably. Gives the roll-outs as well that are paused by it, since the metadata approve their releases no longer.
    ///
    /// # Errors
    /// The product has a release of this version.
    pub async fn create_release(
        &self,
        new: &NewRelease,
        metadata: &[MetadataFile],
    ) -> Result<(Release, Vec<Rollout>), ChangeError> {
        let id = ReleaseId::random();
        let now = unix_ms();
        let mut change = self.begin().await?;
        let made = sqlx::query(
            "INSERT INTO releases (id, product, version, security_epoch, uploader_id, uploaded_ms) VALUES ($1, $2, $3, $4, $5, $6)",
        )
        .bind(id.to_string())
        .bind(&new.product)
        .bind(new.version.to_string())
        .bind(i64::from(new.security_epoch))
        .bind(new.uploader.to_string())
        .bind(now)
        .execute(&mut *change)
        .await;
        made.map_err(
            |error| if is_duplicate(&error) { Rule::ReleaseVersionTaken.into() } else { ChangeError::from(error) },
        )?;
        for image in &new.images {
            sqlx::query(
                "INSERT INTO release_images (image, release_id, len, manifest, sealed_key) VALUES ($1, $2, $3, $4, $5)",
            )
            .bind(image.shown.image.as_slice())
            .bind(id.to_string())
            .bind(i64::from(image.shown.len))
            .bind(&image.manifest)
            .bind(&image.sealed_key)
            .execute(&mut *change)
            .await?;
            for model in &image.shown.models {
                sqlx::query("INSERT INTO release_models (release_id, model, image) VALUES ($1, $2, $3)")
                    .bind(id.to_string())
                    .bind(model)
                    .bind(image.shown.image.as_slice())
                    .execute(&mut *change)
                    .await?;
            }
        }
        release_metadata::put(&mut change, metadata).await?;
        let paused = approvals::pause_others(&mut change).await?;
        change.commit().await?;
        self.read_running().await?;
        let release = Release {
            id,
            product: new.product.clone(),
            version: new.version,
            security_epoch: new.security_epoch,
            uploader: new.uploader,
            uploaded_ms: now,
            images: new.images.iter().map(|image| image.shown.clone()).collect(),
        };
        Ok((release, paused))
    }

    /// One release.
    ///
    /// # Errors
    /// The state could not be read.
    pub async fn release(&self, id: ReleaseId) -> Result<Option<Release>, StoreError> {
        let found = sqlx::query_as::<_, Row>(ONE).bind(id.to_string()).fetch_optional(self.readers()).await?;
        match found {
            Some(row) => Ok(Some(self.with_images(row).await?)),
            None => Ok(None),
        }
    }

    /// Releases, the newest upload first.
    ///
    /// # Errors
    /// The state could not be read.
    pub async fn releases(&self, page: Page) -> Result<Listed<Release>, StoreError> {
        let rows =
            sqlx::query_as::<_, Row>(ALL).bind(page.limit()).bind(page.offset()).fetch_all(self.readers()).await?;
        let mut releases = Vec::with_capacity(rows.len());
        for row in rows {
            releases.push(self.with_images(row).await?);
        }
        Ok(page.listed(releases))
    }

    /// Which release has an image of this name.
    ///
    /// # Errors
    /// The state could not be read.
    pub async fn release_of_image(&self, image: &[u8; 32]) -> Result<Option<Release>, StoreError> {
        let found = sqlx::query_scalar::<_, String>("SELECT release_id FROM release_images WHERE image = $1")
            .bind(image.as_slice())
            .fetch_optional(self.readers())
            .await?;
        match found {
            Some(id) => self.release(row::text("release_images.release_id", &id)?).await,
            None => Ok(None),
        }
    }

    async fn with_images(&self, row: Row) -> Result<Release, StoreError> {
        let rows = sqlx::query_as::<_, (Vec<u8>, i64, String)>(
            "SELECT i.image, i.len, m.model FROM release_images i JOIN release_models m ON m.image = i.image AND m.release_id = i.release_id
             WHERE i.release_id = $1 ORDER BY i.image, m.model",
        )
        .bind(&row.id)
        .fetch_all(self.readers())
        .await?;
        let mut images: Vec<ReleaseImage> = Vec::new();
        for (image, len, model) in rows {
            let image = row::hash("release_images.image", &image)?;
            match images.last_mut().filter(|last| last.image == image) {
                Some(last) => last.models.push(model),
                None => images.push(ReleaseImage {
                    image,
                    models: vec![model],
                    len: row::count("release_images.len", len)?,
                }),
            }
        }
        row.into_release(images)
    }
}
