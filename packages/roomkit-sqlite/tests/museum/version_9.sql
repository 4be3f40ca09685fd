-- Written by roomkit-sqlite 1.0.0 with schema version 8; never changed.
PRAGMA application_id = 1383034733;
CREATE TABLE schema_version ( version INTEGER NOT NULL PRIMARY KEY, applied_at TEXT NOT NULL ) STRICT;
CREATE TABLE rooms ( seq INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL UNIQUE, organization_id TEXT, status TEXT NOT NULL, created_at INTEGER NOT NULL, last_activity INTEGER, due_after INTEGER, next_index INTEGER NOT NULL DEFAULT 0, event_count INTEGER NOT NULL DEFAULT 0, version INTEGER NOT NULL DEFAULT 0, edition INTEGER NOT NULL DEFAULT 0, data TEXT NOT NULL , fence INTEGER) STRICT;
CREATE INDEX rooms_by_organization ON rooms (organization_id, seq) WHERE organization_id IS NOT NULL;
CREATE INDEX rooms_by_due ON rooms (coalesce(last_activity, created_at) + due_after) WHERE due_after IS NOT NULL;
CREATE TABLE events ( seq INTEGER NOT NULL PRIMARY KEY, room INTEGER NOT NULL REFERENCES rooms (seq) ON DELETE CASCADE, idx INTEGER NOT NULL, id TEXT NOT NULL UNIQUE, idempotency_key TEXT, type TEXT NOT NULL, status TEXT NOT NULL, visibility TEXT NOT NULL, channel_id TEXT NOT NULL, deleted INTEGER NOT NULL DEFAULT 0, data TEXT NOT NULL, key_scope TEXT, external_id TEXT, UNIQUE (room, idx) ) STRICT;
CREATE UNIQUE INDEX events_by_key ON events (room, idempotency_key) WHERE idempotency_key IS NOT NULL;
CREATE VIRTUAL TABLE search USING fts5 (room, text, columnsize = 0, tokenize = 'unicode61 remove_diacritics 2');
CREATE TABLE bindings ( seq INTEGER NOT NULL PRIMARY KEY, room INTEGER NOT NULL REFERENCES rooms (seq) ON DELETE CASCADE, channel_id TEXT NOT NULL, channel_type TEXT NOT NULL, participant_id TEXT, data TEXT NOT NULL, address TEXT, UNIQUE (room, channel_id) ) STRICT;
CREATE INDEX bindings_by_channel ON bindings (channel_id, room);
CREATE INDEX bindings_by_participant ON bindings (participant_id, channel_id, room) WHERE participant_id IS NOT NULL;
CREATE TABLE participants ( seq INTEGER NOT NULL PRIMARY KEY, room INTEGER NOT NULL REFERENCES rooms (seq) ON DELETE CASCADE, id TEXT NOT NULL, data TEXT NOT NULL, UNIQUE (room, id) ) STRICT;
CREATE INDEX participants_by_id ON participants (id, room);
CREATE TABLE senders ( channel_id TEXT NOT NULL, sender_id TEXT NOT NULL, room INTEGER NOT NULL, participant INTEGER NOT NULL REFERENCES participants (seq) ON DELETE CASCADE, PRIMARY KEY (channel_id, sender_id, room, participant) ) STRICT, WITHOUT ROWID;
CREATE INDEX senders_by_participant ON senders (participant);
CREATE TABLE identities ( id TEXT NOT NULL PRIMARY KEY, organization_id TEXT NOT NULL, data TEXT NOT NULL ) STRICT;
CREATE TABLE identity_addresses ( organization_id TEXT NOT NULL, channel_type TEXT NOT NULL, address TEXT NOT NULL, identity TEXT NOT NULL REFERENCES identities (id) ON DELETE CASCADE, PRIMARY KEY (organization_id, channel_type, address) ) STRICT, WITHOUT ROWID;
CREATE INDEX identity_addresses_by_identity ON identity_addresses (identity);
CREATE TABLE tasks ( seq INTEGER NOT NULL PRIMARY KEY, room INTEGER NOT NULL REFERENCES rooms (seq) ON DELETE CASCADE, id TEXT NOT NULL UNIQUE, status TEXT NOT NULL, data TEXT NOT NULL ) STRICT;
CREATE INDEX tasks_by_room ON tasks (room, status);
CREATE TABLE observations ( seq INTEGER NOT NULL PRIMARY KEY, room INTEGER NOT NULL REFERENCES rooms (seq) ON DELETE CASCADE, id TEXT NOT NULL, data TEXT NOT NULL, UNIQUE (room, id) ) STRICT;
CREATE TABLE read_marks ( room INTEGER NOT NULL REFERENCES rooms (seq) ON DELETE CASCADE, channel_id TEXT NOT NULL, idx INTEGER NOT NULL, PRIMARY KEY (room, channel_id) ) STRICT, WITHOUT ROWID;
CREATE TABLE deliveries ( seq INTEGER NOT NULL PRIMARY KEY, room INTEGER NOT NULL REFERENCES rooms (seq) ON DELETE CASCADE, event INTEGER NOT NULL REFERENCES events (seq) ON DELETE CASCADE, channel_id TEXT NOT NULL, state TEXT NOT NULL, created_at TEXT NOT NULL, data TEXT, holder TEXT, handed INTEGER NOT NULL DEFAULT 0, claims INTEGER NOT NULL DEFAULT 0, UNIQUE (event, channel_id) ) STRICT;
CREATE INDEX deliveries_by_room ON deliveries (room);
CREATE INDEX deliveries_pending ON deliveries (state) WHERE state = 'pending';
CREATE INDEX deliveries_pending_by_room ON deliveries (room) WHERE state = 'pending';
CREATE INDEX deliveries_failed ON deliveries (state) WHERE state = 'failed';
CREATE TABLE delivery_messages ( provider TEXT NOT NULL, message_id TEXT NOT NULL, delivery INTEGER NOT NULL REFERENCES deliveries (seq) ON DELETE CASCADE, receipt TEXT, PRIMARY KEY (provider, message_id) ) STRICT, WITHOUT ROWID;
CREATE INDEX delivery_messages_by_delivery ON delivery_messages (delivery);
CREATE TABLE leases ( worker TEXT NOT NULL PRIMARY KEY, renewed_at INTEGER NOT NULL, length INTEGER NOT NULL , channels TEXT) STRICT, WITHOUT ROWID;
CREATE INDEX deliveries_lanes ON deliveries (room, channel_id, handed, holder) WHERE state = 'pending';
CREATE INDEX deliveries_held ON deliveries (holder, handed, room, state) WHERE state = 'pending';
CREATE TABLE early_receipts ( seq INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT, provider TEXT NOT NULL, message_id TEXT NOT NULL, receipt TEXT NOT NULL, arrived_at INTEGER NOT NULL, data TEXT NOT NULL ) STRICT;
CREATE INDEX early_receipts_by_message ON early_receipts (provider, message_id);
CREATE INDEX early_receipts_by_arrival ON early_receipts (arrived_at);
CREATE INDEX participants_by_identity ON participants (json_extract(data, '$.identity_id'), room) WHERE json_extract(data, '$.identity_id') IS NOT NULL;
CREATE TABLE kept_values ( seq INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT, organization_id TEXT NOT NULL, namespace TEXT NOT NULL, key TEXT NOT NULL, subject TEXT, room_id TEXT, expires_at INTEGER, data TEXT NOT NULL, derived INTEGER NOT NULL DEFAULT 0, UNIQUE (organization_id, namespace, key) ) STRICT;
CREATE INDEX kept_values_by_subject ON kept_values (subject) WHERE subject IS NOT NULL;
CREATE INDEX kept_values_by_room ON kept_values (room_id) WHERE room_id IS NOT NULL;
CREATE INDEX kept_values_by_expiry ON kept_values (expires_at) WHERE expires_at IS NOT NULL;
CREATE INDEX events_by_any_key ON events (idempotency_key) WHERE idempotency_key IS NOT NULL;
CREATE UNIQUE INDEX events_by_wide_key ON events (key_scope, idempotency_key) WHERE key_scope IS NOT NULL;
CREATE TABLE alarms ( seq INTEGER NOT NULL PRIMARY KEY, id TEXT NOT NULL UNIQUE, room INTEGER REFERENCES rooms (seq) ON DELETE CASCADE, due_at INTEGER NOT NULL, holder TEXT, claims INTEGER NOT NULL DEFAULT 0, data TEXT NOT NULL, due INTEGER, kind TEXT, subject TEXT ) STRICT;
CREATE INDEX alarms_by_due ON alarms (due_at);
CREATE INDEX alarms_by_time ON alarms (coalesce(due, due_at));
CREATE INDEX alarms_by_room ON alarms (room, due_at);
CREATE INDEX alarms_by_holder ON alarms (holder) WHERE holder IS NOT NULL;
CREATE INDEX alarms_by_subject ON alarms (subject) WHERE subject IS NOT NULL;
CREATE INDEX bindings_by_address ON bindings (address, channel_id, room) WHERE address IS NOT NULL;
CREATE INDEX events_by_external_id ON events (external_id, channel_id) WHERE external_id IS NOT NULL;
CREATE TRIGGER events_external_id AFTER UPDATE OF data ON events WHEN old.external_id IS NOT NULL BEGIN UPDATE events SET external_id = CASE WHEN json_valid(new.data) THEN json_extract(new.data, '$.source.external_id') END WHERE seq = new.seq; END;
CREATE TABLE homes ( seq INTEGER NOT NULL PRIMARY KEY, room INTEGER REFERENCES rooms (seq) ON DELETE CASCADE, name TEXT NOT NULL, worker TEXT, token INTEGER NOT NULL, url TEXT, lost_at INTEGER ) STRICT;
CREATE UNIQUE INDEX homes_by_room ON homes (room, name) WHERE room IS NOT NULL;
CREATE UNIQUE INDEX homes_elected ON homes (name) WHERE room IS NULL;
CREATE TABLE media (id TEXT NOT NULL PRIMARY KEY, room_id TEXT NOT NULL, unused_at INTEGER) STRICT;
CREATE INDEX media_unused ON media (unused_at, id) WHERE unused_at IS NOT NULL;
CREATE TABLE media_uses (
        event INTEGER NOT NULL REFERENCES events (seq) ON DELETE CASCADE,
        media TEXT NOT NULL,
        PRIMARY KEY (event, media)
    ) STRICT, WITHOUT ROWID;
CREATE INDEX media_uses_by_media ON media_uses (media);
CREATE TRIGGER media_used AFTER INSERT ON media_uses
        BEGIN
            UPDATE media SET unused_at = NULL WHERE id = new.media;
        END;
CREATE TRIGGER media_released AFTER DELETE ON media_uses
        BEGIN
            UPDATE media SET unused_at = -62135596800000000 WHERE id = old.media
            AND NOT EXISTS (SELECT 1 FROM media_uses WHERE media = old.media);
        END;
CREATE TABLE media_files (
        id TEXT NOT NULL PRIMARY KEY,
        room_id TEXT NOT NULL,
        data TEXT NOT NULL
    ) STRICT;
CREATE INDEX media_files_by_room ON media_files (room_id);
CREATE TABLE media_pieces (
        file TEXT NOT NULL,
        number INTEGER NOT NULL,
        data BLOB NOT NULL,
        PRIMARY KEY (file, number)
    ) STRICT;
INSERT INTO schema_version (version, applied_at) VALUES (1, '2026-11-22T15:50:25.758820+00:00');
INSERT INTO schema_version (version, applied_at) VALUES (2, '2026-11-22T17:51:58.367705+00:00');
INSERT INTO schema_version (version, applied_at) VALUES (3, '2026-11-29T13:42:40.703850+00:00');
INSERT INTO schema_version (version, applied_at) VALUES (4, '2026-11-29T14:26:00.980913+00:00');
INSERT INTO schema_version (version, applied_at) VALUES (5, '2026-11-29T14:42:44.791411+00:00');
INSERT INTO schema_version (version, applied_at) VALUES (6, '2026-11-29T17:05:00.000000+00:00');
INSERT INTO schema_version (version, applied_at) VALUES (7, '2026-11-30T00:20:00.000000+00:00');
INSERT INTO schema_version (version, applied_at) VALUES (8, '2026-11-30T01:05:00.000000+00:00');
INSERT INTO schema_version (version, applied_at) VALUES (9, '2026-11-30T04:50:00.000000+00:00');
INSERT INTO rooms (seq, id, organization_id, status, created_at, last_activity, due_after, next_index, event_count, version, edition, data, fence) VALUES (1, 'museum', 'acme', 'paused', 1893499200000000, 1893499200000000, NULL, 4, 4, 4, 12, '{"id":"museum","organization_id":"acme","status":"paused","created_at":"2030-01-01T12:00:00Z","updated_at":"2030-01-01T12:00:00Z","timers":{},"metadata":{"tier":"gold","nested":{"a":[1,null]}},"detached_channels":[],"state":{}}', 7);
INSERT INTO events (seq, room, idx, id, idempotency_key, type, status, visibility, channel_id, deleted, data) VALUES (1, 1, 0, 'e0', NULL, 'message', 'delivered', 'all', 'alice', 0, '{"type":"message","source":{"channel_id":"alice","channel_type":"sms","direction":"inbound","participant_id":"alice","raw_payload":{}},"content":{"type":"text","body":"edited"},"status":"delivered","visibility":"all","chain_depth":0,"created_at":"2030-01-01T12:00:00Z","metadata":{},"channel_data":{"extra":{}},"amendment":{"edited_at":"2030-01-01T12:00:00Z","amended_by":"ann","former_contents":[{"type":"text","body":"original"}]}}');
INSERT INTO events (seq, room, idx, id, idempotency_key, type, status, visibility, channel_id, deleted, data) VALUES (2, 1, 1, 'e1', NULL, 'message', 'delivered', 'all', 'alice', 1, '{"type":"message","source":{"channel_id":"alice","channel_type":"sms","direction":"inbound","participant_id":"alice","raw_payload":{}},"content":{"type":"text","body":"oops"},"status":"delivered","visibility":"all","chain_depth":0,"created_at":"2030-01-01T12:00:00Z","metadata":{},"channel_data":{"extra":{}},"amendment":{"deleted_at":"2030-01-01T12:00:00Z","amended_by":"ann","former_contents":[]}}');
INSERT INTO events (seq, room, idx, id, idempotency_key, type, status, visibility, channel_id, deleted, data, key_scope) VALUES (3, 1, 2, 'e2', 'key', 'message', 'delivered', 'all', 'alice', 0, '{"type":"message","source":{"channel_id":"alice","channel_type":"sms","direction":"inbound","participant_id":"alice","raw_payload":{}},"content":{"type":"text","body":"to be found again"},"status":"delivered","visibility":"all","chain_depth":0,"idempotency_key":"key","created_at":"2030-01-01T12:00:00Z","metadata":{},"channel_data":{"extra":{}}}', 'acme');
INSERT INTO events (seq, room, idx, id, idempotency_key, type, status, visibility, channel_id, deleted, data) VALUES (4, 1, 3, 'e3', NULL, 'message', 'blocked', 'all', 'alice', 0, '{"type":"message","source":{"channel_id":"alice","channel_type":"sms","direction":"inbound","participant_id":"alice","raw_payload":{}},"content":{"type":"text","body":"refused"},"status":"blocked","blocked_by":"gate","block_reason":"rude","visibility":"all","chain_depth":0,"created_at":"2030-01-01T12:00:00Z","metadata":{},"channel_data":{"extra":{}}}');
INSERT INTO search (rowid, room, text) VALUES (1, 1, 'edited');
INSERT INTO search (rowid, room, text) VALUES (3, 1, 'to be found again');
INSERT INTO search (rowid, room, text) VALUES (4, 1, 'refused');
INSERT INTO bindings (seq, room, channel_id, channel_type, participant_id, data, address) VALUES (1, 1, 'sms', 'sms', 'ann', '{"channel_id":"sms","address":"+15550001","state":{"conversation":"c"},"room_id":"museum","channel_type":"sms","category":"transport","direction":"bidirectional","access":"read_write","muted":false,"visibility":"all","participant_id":"ann","attached_at":"2030-01-01T12:00:00Z","capabilities":{"media_types":["text"],"supports_threading":false,"supports_reactions":false,"supports_edit":false,"supports_delete":false,"supports_read_receipts":false,"supports_delivery_receipts":false,"supports_typing":false,"supports_templates":false,"supports_rich_text":false,"supports_buttons":false,"supports_cards":false,"supports_quick_replies":false,"supports_media":false,"supported_media_types":[],"supports_audio":false,"supported_audio_formats":[],"supports_video":false,"supported_video_formats":[],"delivery_mode":"broadcast","custom":{}},"length_policy":"split","double_text":"queue","fold_seconds":0.5,"metadata":{}}', '+15550001');
INSERT INTO bindings (seq, room, channel_id, channel_type, participant_id, data) VALUES (2, 1, 'ai', 'ai', NULL, '{"channel_id":"ai","room_id":"museum","channel_type":"ai","category":"intelligence","direction":"bidirectional","access":"read_write","muted":false,"visibility":"all","attached_at":"2030-01-01T12:00:00Z","capabilities":{"media_types":["text"],"supports_threading":false,"supports_reactions":false,"supports_edit":false,"supports_delete":false,"supports_read_receipts":false,"supports_delivery_receipts":false,"supports_typing":false,"supports_templates":false,"supports_rich_text":false,"supports_buttons":false,"supports_cards":false,"supports_quick_replies":false,"supports_media":false,"supported_media_types":[],"supports_audio":false,"supported_audio_formats":[],"supports_video":false,"supported_video_formats":[],"delivery_mode":"broadcast","custom":{}},"length_policy":"split","double_text":"queue","fold_seconds":0.5,"metadata":{}}');
INSERT INTO participants (seq, room, id, data) VALUES (1, 1, 'ann', '{"id":"ann","room_id":"museum","channel_id":"sms","role":"member","status":"active","identification":"pending","connected_via":[],"joined_at":"2030-01-01T12:00:00Z","metadata":{}}');
INSERT INTO senders (channel_id, sender_id, room, participant) VALUES ('sms', 'ann', 1, 1);
INSERT INTO identities (id, organization_id, data) VALUES ('ann@acme', 'acme', '{"id":"ann@acme","organization_id":"acme","channel_addresses":{"sms":["+15550001"]},"external_ids":{},"metadata":{}}');
INSERT INTO identity_addresses (organization_id, channel_type, address, identity) VALUES ('acme', 'sms', '+15550001', 'ann@acme');
INSERT INTO tasks (seq, room, id, status, data) VALUES (1, 1, 't', 'in_progress', '{"id":"t","room_id":"museum","title":"call back","status":"in_progress","created_at":"2030-01-01T12:00:00Z","metadata":{}}');
INSERT INTO observations (seq, room, id, data) VALUES (1, 1, 'o', '{"id":"o","room_id":"museum","channel_id":"ai","content":"seemed happy","confidence":1.0,"created_at":"2030-01-01T12:00:00Z","metadata":{}}');
INSERT INTO read_marks (room, channel_id, idx) VALUES (1, 'sms', 2);
INSERT INTO deliveries (seq, room, event, channel_id, state, created_at, data, holder, handed, claims) VALUES (1, 1, 3, 'sms', 'sent', '2030-01-01T12:00:00+00:00', '{"id":"e2:sms","room_id":"museum","event_id":"e2","event_index":2,"channel_id":"sms","state":"sent","attempts":1,"provider":"acme","provider_message_id":"vendor-1","parts":[],"created_at":"2030-01-01T12:00:00Z","finished_at":"2030-01-01T12:00:00Z"}', NULL, 0, 0);
INSERT INTO deliveries (seq, room, event, channel_id, state, created_at, data, holder, handed, claims) VALUES (2, 1, 3, 'ai', 'pending', '2030-01-01T12:00:00+00:00', NULL, 'worker', 0, 0);
INSERT INTO delivery_messages (provider, message_id, delivery, receipt) VALUES ('acme', 'vendor-1', 1, NULL);
INSERT INTO leases (worker, renewed_at, length, channels) VALUES ('worker', 1893499200000000, 30000000, NULL);
INSERT INTO early_receipts (seq, provider, message_id, receipt, arrived_at, data) VALUES (1, 'acme', 'vendor-2', 'delivered', 1893499200000000, '{"provider":"acme","message_id":"vendor-2","status":"delivered","recipient":"","sender":"","raw":{}}');
INSERT INTO alarms (seq, id, room, due_at, holder, claims, data, kind) VALUES (1, 'timers:museum', 1, 1893502800000000, NULL, 0, '{"id":"timers:museum","room_id":"museum","kind":"room_timers","due_at":"2030-01-01T13:00:00Z","data":{}}', 'room_timers');
INSERT INTO alarms (seq, id, room, due_at, holder, claims, data, kind) VALUES (2, 'after:e2', 1, 1893499200000000, 'worker', 0, '{"id":"after:e2","room_id":"museum","kind":"after_broadcast","due_at":"2030-01-01T12:00:00Z","data":{"event_id":"e2"}}', 'after_broadcast');
INSERT INTO alarms (seq, id, room, due_at, holder, claims, data, due, kind, subject) VALUES (3, 'acme.call', NULL, 253402300799999999, NULL, 0, '{"id":"acme.call","kind":"acme.call","due_at":"2030-01-01T12:00:00Z","data":{},"subject":"ann"}', 1893499200000000, 'acme.call', 'ann');
INSERT INTO homes (seq, room, name, worker, token, url, lost_at) VALUES (1, 1, 'voice', 'gone', 3, 'http://a', 1893499200000000);
INSERT INTO homes (seq, room, name, worker, token) VALUES (2, NULL, 'bot', NULL, 2);
INSERT INTO kept_values (seq, organization_id, namespace, key, subject, room_id, expires_at, data) VALUES (1, 'acme', 'n', '["k","\u0000"]', 'ann', 'museum', 1893499200000000, '{"namespace":"n","key":["k","\u0000"],"data":{"a":1},"revision":0,"expires_at":"2030-01-01T12:00:00Z","subject":"ann","room_id":"museum","organization_id":"acme","derived":false}');
INSERT INTO media (id, room_id, unused_at) VALUES ('f1', 'museum', 1893502800000000);
INSERT INTO media (id, room_id, unused_at) VALUES ('f2', 'museum', 1893502800000000);
INSERT INTO media_uses (event, media) VALUES (1, 'f1');
INSERT INTO media_files (id, room_id, data) VALUES ('f1', 'museum', '{"id":"f1","room_id":"museum","mime_type":"text/plain","size_bytes":2,"sha256":"8f434346648f6b96df89dda901c5176b10a6d83961dd3c1ac88b59b2dc327aa4","filename":"a.txt","created_at":"2030-01-01T12:00:00Z"}');
INSERT INTO media_pieces (file, number, data) VALUES ('f1', 0, X'6869');
