-- Bundle and settings are answered each by itself.
ALTER TABLE agents RENAME COLUMN apply_error TO bundle_error;
ALTER TABLE agents ADD COLUMN settings_error TEXT NOT NULL DEFAULT '';
