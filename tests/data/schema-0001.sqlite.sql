BEGIN TRANSACTION;
CREATE TABLE alembic_version (
	version_num VARCHAR(32) NOT NULL, 
	CONSTRAINT alembic_version_pkc PRIMARY KEY (version_num)
);
INSERT INTO "alembic_version" VALUES('0001');
CREATE TABLE attempts (
	build_id VARCHAR(32) NOT NULL, 
	number INTEGER NOT NULL, 
	task_id VARCHAR(255) NOT NULL, 
	agent_id VARCHAR(255) NOT NULL, 
	hostname VARCHAR(255) NOT NULL, 
	agent_url TEXT NOT NULL, 
	slot INTEGER NOT NULL, 
	executor_id VARCHAR(255) NOT NULL, 
	framework_id VARCHAR(255) NOT NULL, 
	placed_at FLOAT NOT NULL, 
	running_at FLOAT, 
	ended_at FLOAT, 
	reason VARCHAR(64), 
	message TEXT, 
	log_offset BIGINT, 
	CONSTRAINT pk_attempts PRIMARY KEY (build_id, number), 
	CONSTRAINT fk_attempts_build_id_builds FOREIGN KEY(build_id) REFERENCES builds (id), 
	CONSTRAINT uq_attempts_task_id UNIQUE (task_id)
);
INSERT INTO "attempts" VALUES('staging000000000',1,'staging000000000.1','agent-1','host1','http://10.0.0.1:5051',1,'executor-1','framework-1',1110.0,NULL,NULL,NULL,NULL,NULL);
INSERT INTO "attempts" VALUES('running000000000',1,'running000000000.1','agent-2','host2','http://10.0.0.2:5051',2,'executor-2','framework-1',1120.0,1320.0,NULL,NULL,NULL,0);
INSERT INTO "attempts" VALUES('cancelling000000',1,'cancelling000000.1','agent-3','host3','http://10.0.0.3:5051',3,'executor-3','framework-1',1130.0,1330.0,NULL,NULL,NULL,NULL);
INSERT INTO "attempts" VALUES('unreachable00000',1,'unreachable00000.1','agent-4','host4','http://10.0.0.4:5051',4,'executor-4','framework-1',1140.0,1340.0,NULL,NULL,NULL,NULL);
INSERT INTO "attempts" VALUES('succeeded0000000',1,'succeeded0000000.1','agent-5','host5','http://10.0.0.5:5051',5,'executor-5','framework-1',1150.0,1350.0,1750.0,NULL,NULL,0);
INSERT INTO "attempts" VALUES('failed0000000000',1,'failed0000000000.1','agent-6','host6','http://10.0.0.6:5051',6,'executor-6','framework-1',1160.0,1360.0,1560.0,'step_failed','the step `make` failed',NULL);
INSERT INTO "attempts" VALUES('again00000000000',1,'again00000000000.1','agent-7','host7','http://10.0.0.7:5051',7,'executor-7','framework-1',1180.0,NULL,1380.0,'launch_failed','no such image',NULL);
INSERT INTO "attempts" VALUES('again00000000000',2,'again00000000000.2','agent-8','host8','http://10.0.0.8:5051',8,'executor-8','framework-1',1580.0,1780.0,NULL,NULL,NULL,NULL);
CREATE TABLE build_images (
	build_id VARCHAR(32) NOT NULL, 
	image VARCHAR(512) NOT NULL, 
	CONSTRAINT pk_build_images PRIMARY KEY (build_id, image), 
	CONSTRAINT fk_build_images_build_id_builds FOREIGN KEY(build_id) REFERENCES builds (id)
);
INSERT INTO "build_images" VALUES('queued0000000000','registry.example.org/queued:1');
INSERT INTO "build_images" VALUES('queued0000000000','registry.example.org/queued:latest');
INSERT INTO "build_images" VALUES('staging000000000','registry.example.org/staging:1');
INSERT INTO "build_images" VALUES('staging000000000','registry.example.org/staging:latest');
INSERT INTO "build_images" VALUES('running000000000','registry.example.org/running:1');
INSERT INTO "build_images" VALUES('running000000000','registry.example.org/running:latest');
INSERT INTO "build_images" VALUES('cancelling000000','registry.example.org/cancelling:1');
INSERT INTO "build_images" VALUES('cancelling000000','registry.example.org/cancelling:latest');
INSERT INTO "build_images" VALUES('unreachable00000','registry.example.org/unreachable:1');
INSERT INTO "build_images" VALUES('unreachable00000','registry.example.org/unreachable:latest');
INSERT INTO "build_images" VALUES('succeeded0000000','registry.example.org/succeeded:1');
INSERT INTO "build_images" VALUES('succeeded0000000','registry.example.org/succeeded:latest');
INSERT INTO "build_images" VALUES('failed0000000000','registry.example.org/failed:1');
INSERT INTO "build_images" VALUES('failed0000000000','registry.example.org/failed:latest');
INSERT INTO "build_images" VALUES('cancelled0000000','registry.example.org/cancelled:1');
INSERT INTO "build_images" VALUES('cancelled0000000','registry.example.org/cancelled:latest');
INSERT INTO "build_images" VALUES('again00000000000','registry.example.org/again:1');
INSERT INTO "build_images" VALUES('again00000000000','registry.example.org/again:latest');
CREATE TABLE build_labels (
	build_id VARCHAR(32) NOT NULL, 
	"key" VARCHAR(255) NOT NULL, 
	value TEXT NOT NULL, 
	CONSTRAINT pk_build_labels PRIMARY KEY (build_id, "key"), 
	CONSTRAINT fk_build_labels_build_id_builds FOREIGN KEY(build_id) REFERENCES builds (id)
);
INSERT INTO "build_labels" VALUES('queued0000000000','team','queued');
INSERT INTO "build_labels" VALUES('staging000000000','team','staging');
INSERT INTO "build_labels" VALUES('running000000000','team','running');
INSERT INTO "build_labels" VALUES('cancelling000000','team','cancelling');
INSERT INTO "build_labels" VALUES('unreachable00000','team','unreachable');
INSERT INTO "build_labels" VALUES('succeeded0000000','team','succeeded');
INSERT INTO "build_labels" VALUES('failed0000000000','team','failed');
INSERT INTO "build_labels" VALUES('cancelled0000000','team','cancelled');
INSERT INTO "build_labels" VALUES('again00000000000','team','again');
CREATE TABLE builds (
	seq INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT, 
	id VARCHAR(32) NOT NULL, 
	owner VARCHAR(64) NOT NULL, 
	state VARCHAR(16) NOT NULL, 
	phase VARCHAR(16), 
	reason VARCHAR(64), 
	message TEXT, 
	git_url TEXT NOT NULL, 
	request TEXT NOT NULL, 
	result TEXT NOT NULL, 
	stop TEXT, 
	created_at FLOAT NOT NULL, 
	state_since FLOAT NOT NULL, 
	ended_at FLOAT, 
	not_before FLOAT NOT NULL, 
	launch_failures INTEGER NOT NULL, 
	log_complete BOOLEAN NOT NULL, 
	version INTEGER NOT NULL, 
	CONSTRAINT uq_builds_id UNIQUE (id)
);
INSERT INTO "builds" VALUES(1,'queued0000000000','ann','QUEUED',NULL,NULL,NULL,'https://git.example.org/queued.git','{"git":{"url":"https://git.example.org/queued.git","ref":"main","username":"ann","password":"git-secret"},"images":["registry.example.org/queued:1","registry.example.org/queued:latest"],"timeout":600.0,"queue_ttl":3600.0,"resources":{"cpus":1.0,"mem":512.0,"disk":100.0},"context":".","dockerfile":"Dockerfile","target":null,"build_args":{"A":"b"},"registry_auth":null,"constraints":[{"attribute":"rack","operator":"LIKE","value":"a|b"}],"priority":1,"labels":{"team":"queued"}}','{"commit":null,"digest":null,"images":[],"size":null,"timings":{}}',NULL,1000.0,1000.0,NULL,0.0,0,0,0);
INSERT INTO "builds" VALUES(2,'staging000000000','ann','STAGING',NULL,NULL,NULL,'https://git.example.org/staging.git','{"git":{"url":"https://git.example.org/staging.git","ref":"main","username":"ann","password":"git-secret"},"images":["registry.example.org/staging:1","registry.example.org/staging:latest"],"timeout":600.0,"queue_ttl":3600.0,"resources":{"cpus":1.0,"mem":512.0,"disk":100.0},"context":".","dockerfile":"Dockerfile","target":null,"build_args":{"A":"b"},"registry_auth":null,"constraints":[{"attribute":"rack","operator":"LIKE","value":"a|b"}],"priority":1,"labels":{"team":"staging"}}','{"commit":null,"digest":null,"images":[],"size":null,"timings":{}}',NULL,1001.0,1110.0,NULL,0.0,0,0,1);
INSERT INTO "builds" VALUES(3,'running000000000','ann','RUNNING','BUILDING',NULL,NULL,'https://git.example.org/running.git','{"git":{"url":"https://git.example.org/running.git","ref":"main","username":"ann","password":"git-secret"},"images":["registry.example.org/running:1","registry.example.org/running:latest"],"timeout":600.0,"queue_ttl":3600.0,"resources":{"cpus":1.0,"mem":512.0,"disk":100.0},"context":".","dockerfile":"Dockerfile","target":null,"build_args":{"A":"b"},"registry_auth":null,"constraints":[{"attribute":"rack","operator":"LIKE","value":"a|b"}],"priority":1,"labels":{"team":"running"}}','{"commit":"c0ffeec0ffeec0ffeec0ffeec0ffeec0ffeeabcd","digest":null,"images":[],"size":null,"timings":{"cloning":1.5}}',NULL,1002.0,1320.0,NULL,0.0,0,0,3);
INSERT INTO "builds" VALUES(4,'cancelling000000','ann','CANCELLING','BUILDING',NULL,'cancelled by bob','https://git.example.org/cancelling.git','{"git":{"url":"https://git.example.org/cancelling.git","ref":"main","username":"ann","password":"git-secret"},"images":["registry.example.org/cancelling:1","registry.example.org/cancelling:latest"],"timeout":600.0,"queue_ttl":3600.0,"resources":{"cpus":1.0,"mem":512.0,"disk":100.0},"context":".","dockerfile":"Dockerfile","target":null,"build_args":{"A":"b"},"registry_auth":null,"constraints":[{"attribute":"rack","operator":"LIKE","value":"a|b"}],"priority":1,"labels":{"team":"cancelling"}}','{"commit":"c0ffeec0ffeec0ffeec0ffeec0ffeec0ffeeabcd","digest":null,"images":[],"size":null,"timings":{"cloning":1.5}}','{"state":"CANCELLED","reason":"cancelled","message":"cancelled by bob","requested_at":1530.0,"kills":1,"killed_at":1530.0}',1003.0,1530.0,NULL,0.0,0,0,3);
INSERT INTO "builds" VALUES(5,'unreachable00000','ann','UNREACHABLE','BUILDING',NULL,'agent lost','https://git.example.org/unreachable.git','{"git":{"url":"https://git.example.org/unreachable.git","ref":"main","username":"ann","password":"git-secret"},"images":["registry.example.org/unreachable:1","registry.example.org/unreachable:latest"],"timeout":600.0,"queue_ttl":3600.0,"resources":{"cpus":1.0,"mem":512.0,"disk":100.0},"context":".","dockerfile":"Dockerfile","target":null,"build_args":{"A":"b"},"registry_auth":null,"constraints":[{"attribute":"rack","operator":"LIKE","value":"a|b"}],"priority":1,"labels":{"team":"unreachable"}}','{"commit":"c0ffeec0ffeec0ffeec0ffeec0ffeec0ffeeabcd","digest":null,"images":[],"size":null,"timings":{"cloning":1.5}}',NULL,1004.0,1540.0,NULL,0.0,0,0,3);
INSERT INTO "builds" VALUES(6,'succeeded0000000','ann','SUCCEEDED',NULL,NULL,NULL,'https://git.example.org/succeeded.git','{"git":{"url":"https://git.example.org/succeeded.git","ref":"main","username":"ann","password":"git-secret"},"images":["registry.example.org/succeeded:1","registry.example.org/succeeded:latest"],"timeout":600.0,"queue_ttl":3600.0,"resources":{"cpus":1.0,"mem":512.0,"disk":100.0},"context":".","dockerfile":"Dockerfile","target":null,"build_args":{"A":"b"},"registry_auth":null,"constraints":[{"attribute":"rack","operator":"LIKE","value":"a|b"}],"priority":1,"labels":{"team":"succeeded"}}','{"commit":"c0ffeec0ffeec0ffeec0ffeec0ffeec0ffeeabcd","digest":"sha256:1111111111111111111111111111111111111111111111111111111111111111","images":[{"name":"registry.example.org/succeeded:1","digest":"sha256:1111111111111111111111111111111111111111111111111111111111111111"}],"size":12345,"timings":{"cloning":1.5,"building":20.25}}',NULL,1005.0,1750.0,1750.0,0.0,0,1,5);
INSERT INTO "builds" VALUES(7,'failed0000000000','ann','FAILED','BUILDING','step_failed','the step `make` failed','https://git.example.org/failed.git','{"git":{"url":"https://git.example.org/failed.git","ref":"main","username":"ann","password":"git-secret"},"images":["registry.example.org/failed:1","registry.example.org/failed:latest"],"timeout":600.0,"queue_ttl":3600.0,"resources":{"cpus":1.0,"mem":512.0,"disk":100.0},"context":".","dockerfile":"Dockerfile","target":null,"build_args":{"A":"b"},"registry_auth":null,"constraints":[{"attribute":"rack","operator":"LIKE","value":"a|b"}],"priority":1,"labels":{"team":"failed"}}','{"commit":"c0ffeec0ffeec0ffeec0ffeec0ffeec0ffeeabcd","digest":null,"images":[],"size":null,"timings":{"cloning":1.5}}',NULL,1006.0,1560.0,1560.0,0.0,0,0,3);
INSERT INTO "builds" VALUES(8,'cancelled0000000','ann','CANCELLED',NULL,'cancelled','cancelled by ann','https://git.example.org/cancelled.git','{"git":{"url":"https://git.example.org/cancelled.git","ref":"main","username":"ann","password":"git-secret"},"images":["registry.example.org/cancelled:1","registry.example.org/cancelled:latest"],"timeout":600.0,"queue_ttl":3600.0,"resources":{"cpus":1.0,"mem":512.0,"disk":100.0},"context":".","dockerfile":"Dockerfile","target":null,"build_args":{"A":"b"},"registry_auth":null,"constraints":[{"attribute":"rack","operator":"LIKE","value":"a|b"}],"priority":1,"labels":{"team":"cancelled"}}','{"commit":null,"digest":null,"images":[],"size":null,"timings":{}}',NULL,1007.0,1170.0,1170.0,0.0,0,1,1);
INSERT INTO "builds" VALUES(9,'again00000000000','ann','RUNNING','CLONING',NULL,NULL,'https://git.example.org/again.git','{"git":{"url":"https://git.example.org/again.git","ref":"main","username":"ann","password":"git-secret"},"images":["registry.example.org/again:1","registry.example.org/again:latest"],"timeout":600.0,"queue_ttl":3600.0,"resources":{"cpus":1.0,"mem":512.0,"disk":100.0},"context":".","dockerfile":"Dockerfile","target":null,"build_args":{"A":"b"},"registry_auth":null,"constraints":[{"attribute":"rack","operator":"LIKE","value":"a|b"}],"priority":1,"labels":{"team":"again"}}','{"commit":null,"digest":null,"images":[],"size":null,"timings":{}}',NULL,1008.0,1780.0,NULL,1381.0,0,0,4);
CREATE TABLE idempotency_keys (
	owner VARCHAR(64) NOT NULL, 
	"key" VARCHAR(255) NOT NULL, 
	fingerprint VARCHAR(64) NOT NULL, 
	build_id VARCHAR(32) NOT NULL, 
	CONSTRAINT pk_idempotency_keys PRIMARY KEY (owner, "key"), 
	CONSTRAINT fk_idempotency_keys_build_id_builds FOREIGN KEY(build_id) REFERENCES builds (id)
);
INSERT INTO "idempotency_keys" VALUES('ann','key-queued','0000000000000000000000000000000000000000000000000000000000000000','queued0000000000');
INSERT INTO "idempotency_keys" VALUES('ann','key-staging','0000000000000000000000000000000000000000000000000000000000000001','staging000000000');
INSERT INTO "idempotency_keys" VALUES('ann','key-running','0000000000000000000000000000000000000000000000000000000000000002','running000000000');
INSERT INTO "idempotency_keys" VALUES('ann','key-cancelling','0000000000000000000000000000000000000000000000000000000000000003','cancelling000000');
INSERT INTO "idempotency_keys" VALUES('ann','key-unreachable','0000000000000000000000000000000000000000000000000000000000000004','unreachable00000');
INSERT INTO "idempotency_keys" VALUES('ann','key-succeeded','0000000000000000000000000000000000000000000000000000000000000005','succeeded0000000');
INSERT INTO "idempotency_keys" VALUES('ann','key-failed','0000000000000000000000000000000000000000000000000000000000000006','failed0000000000');
INSERT INTO "idempotency_keys" VALUES('ann','key-cancelled','0000000000000000000000000000000000000000000000000000000000000007','cancelled0000000');
INSERT INTO "idempotency_keys" VALUES('ann','key-again','0000000000000000000000000000000000000000000000000000000000000008','again00000000000');
CREATE TABLE settings (
	name VARCHAR(64) NOT NULL, 
	value TEXT NOT NULL, 
	CONSTRAINT pk_settings PRIMARY KEY (name)
);
INSERT INTO "settings" VALUES('framework_id','framework-1');
INSERT INTO "settings" VALUES('ping','');
CREATE INDEX ix_builds_git_url_seq ON builds (git_url, seq);
CREATE INDEX ix_builds_log_complete ON builds (log_complete);
CREATE INDEX ix_builds_owner_seq ON builds (owner, seq);
CREATE INDEX ix_builds_state_seq ON builds (state, seq);
CREATE INDEX ix_build_images_image ON build_images (image);
CREATE INDEX ix_build_labels_key ON build_labels ("key");
DELETE FROM "sqlite_sequence";
INSERT INTO "sqlite_sequence" VALUES('builds',9);
COMMIT;
