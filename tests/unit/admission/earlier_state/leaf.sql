PRAGMA user_version=3;
BEGIN TRANSACTION;
CREATE TABLE approvals (number INTEGER PRIMARY KEY AUTOINCREMENT, scope TEXT NOT NULL,
           tbl TEXT NOT NULL, digest TEXT NOT NULL, verb TEXT NOT NULL, key TEXT NOT NULL,
           key_value TEXT NOT NULL, before TEXT NOT NULL, after TEXT NOT NULL, approved_at TEXT NOT NULL,
           UNIQUE (scope, tbl, digest)) STRICT;
CREATE TABLE audit (number INTEGER PRIMARY KEY, claim TEXT NOT NULL, body TEXT NOT NULL) STRICT;
CREATE TABLE "claims" (name TEXT PRIMARY KEY, body TEXT NOT NULL) STRICT, WITHOUT ROWID;
CREATE TABLE holds (scope TEXT NOT NULL, tbl TEXT NOT NULL, key TEXT NOT NULL,
           key_value TEXT NOT NULL, entry INTEGER NOT NULL, held_at TEXT NOT NULL,
           PRIMARY KEY (scope, tbl, key)) STRICT, WITHOUT ROWID;
CREATE TABLE journal (number INTEGER PRIMARY KEY AUTOINCREMENT, scope TEXT NOT NULL,
           tbl TEXT NOT NULL, verb TEXT NOT NULL, key TEXT NOT NULL, key_value TEXT NOT NULL,
           before TEXT NOT NULL, after TEXT NOT NULL, begun_at TEXT NOT NULL,
           outcome TEXT NOT NULL DEFAULT '', finished_at TEXT, undoes INTEGER, ended INTEGER NOT NULL DEFAULT 0) STRICT;
CREATE TABLE nonces (policy TEXT NOT NULL, nonce TEXT NOT NULL, leaf_id TEXT NOT NULL,
           fingerprint TEXT NOT NULL, until TEXT, PRIMARY KEY (policy, nonce)) STRICT, WITHOUT ROWID;
CREATE TABLE originals (scope TEXT NOT NULL, key TEXT NOT NULL, value TEXT NOT NULL,
           PRIMARY KEY (scope, key)) STRICT, WITHOUT ROWID;
CREATE TABLE own_claims (name TEXT PRIMARY KEY, body TEXT NOT NULL) STRICT;
INSERT INTO "own_claims" VALUES('leaf-a','{"asn":64512,"direct_mesh":false,"endpoint":"198.51.100.31","expires_at":"","join_audience":"fabric","join_hmac":"98a38288b982a2b59d6c3bba2afad5274cbb38fddc725011bb58ff4ba12d0407","join_nonce":"00112233445566778899aabbccddeeff","join_timestamp":"2026-06-28T12:00:00.000000Z","leaf_id":"leaf-a","name":"leaf-a","owned_addresses":["10.77.60.31/32"],"placement":null,"policy_ref":"SAMEnrollmentPolicy/p","revoked":false,"router_id":"10.255.0.31","rr_set_ref":"SAMRRSet/rrs","tunnel_address":"10.255.0.31/32","wireguard":{"allowed_ips":[],"endpoint":"","persistent_keepalive":0,"public_key":"6YRdGAmykqu/puk7H9Hnvm2gBl0jrzkgF+7MCrTQrQ8="}}');
CREATE TABLE pending (name TEXT PRIMARY KEY, body TEXT NOT NULL) STRICT;
CREATE TABLE refusals (number INTEGER PRIMARY KEY, claim TEXT NOT NULL, body TEXT NOT NULL) STRICT;
CREATE TABLE revocations (policy TEXT NOT NULL, leaf_id TEXT NOT NULL, nonce TEXT NOT NULL,
           body TEXT NOT NULL, PRIMARY KEY (policy, leaf_id, nonce)) STRICT, WITHOUT ROWID;
CREATE TABLE topologies (rr_set TEXT PRIMARY KEY, body TEXT NOT NULL) STRICT;
INSERT INTO "topologies" VALUES('rrs','{"claim_digest":"sha256:fad6030f052a49755cf69a1e12c3dd42b5385b0a45c997946698af45cbaeb81f","expires_at":"2026-06-29T12:00:00.000000Z","fetched_at":"2026-06-28T12:00:00.000000Z","reflectors":[{"asn":null,"endpoint":"203.0.113.147","node":"rr-a","router_id":null,"transport_address":"10.20.0.1","tunnel_address":null,"wireguard":{"allowed_ips":["10.20.0.1/32"],"endpoint":{"address":"203.0.113.147","port":51820},"persistent_keepalive":0,"public_key":"X/fkkx7bMcGAWi+erUP18u2Fw53mk0FYuWqzUu0RqIc="}}],"rr_set":"rrs"}');
CREATE TABLE verdicts (policy TEXT NOT NULL, leaf_id TEXT NOT NULL, body TEXT NOT NULL,
           PRIMARY KEY (policy, leaf_id)) STRICT, WITHOUT ROWID;
CREATE INDEX journal_key ON journal (scope, tbl, key, number);
CREATE INDEX journal_ended ON journal (number) WHERE ended = 1;

COMMIT;
