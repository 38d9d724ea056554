BEGIN TRANSACTION;
CREATE TABLE alembic_version (
	version_num VARCHAR(32) NOT NULL, 
	CONSTRAINT alembic_version_pkc PRIMARY KEY (version_num)
);
INSERT INTO "alembic_version" VALUES('0002');
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
	log_offset BIGINT, digest VARCHAR(160), lease_until FLOAT, 
	CONSTRAINT pk_attempts PRIMARY KEY (build_id, number), 
	CONSTRAINT fk_attempts_build_id_builds FOREIGN KEY(build_id) REFERENCES builds (id), 
	CONSTRAINT uq_attempts_task_id UNIQUE (task_id)
);
INSERT INTO "attempts" VALUES('staging000000000',1,'staging000000000.1','agent-1','host1','http://10.0.0.1:5051',1,'executor-1','framework-1',1110.0,NULL,NULL,NULL,NULL,NULL,NULL,NULL);
INSERT INTO "attempts" VALUES('running000000000',1,'running000000000.1','agent-2','host2','http://10.0.0.2:5051',2,'executor-2','framework-1',1120.0,1320.0,NULL,NULL,NULL,0,'sha256:1111111111111111111111111111111111111111111111111111111111111111',1955.0);
INSERT INTO "attempts" VALUES('cancelling000000',1,'cancelling000000.1','agent-3','host3','http://10.0.0.3:5051',3,'executor-3','framework-1',1130.0,1330.0,NULL,NULL,NULL,NULL,NULL,NULL);
INSERT INTO "attempts" VALUES('unreachable00000',1,'unreachable00000.1','agent-4','host4','http://10.0.0.4:5051',4,'executor-4','framework-1',1140.0,1340.0,NULL,NULL,NULL,NULL,NULL,NULL);
INSERT INTO "attempts" VALUES('succeeded0000000',1,'succeeded0000000.1','agent-5','host5','http://10.0.0.5:5051',5,'executor-5','framework-1',1150.0,1350.0,2150.0,NULL,NULL,0,'sha256:1111111111111111111111111111111111111111111111111111111111111111',1985.0);
INSERT INTO "attempts" VALUES('failed0000000000',1,'failed0000000000.1','agent-6','host6','http://10.0.0.6:5051',6,'executor-6','framework-1',1160.0,1360.0,1560.0,'step_failed','the step `make` failed',NULL,NULL,NULL);
INSERT INTO "attempts" VALUES('again00000000000',1,'again00000000000.1','agent-7','host7','http://10.0.0.7:5051',7,'executor-7','framework-1',1180.0,1380.0,1580.0,'executor_lost','the executor is gone',NULL,NULL,NULL);
INSERT INTO "attempts" VALUES('again00000000000',2,'again00000000000.2','agent-8','host8','http://10.0.0.8:5051',8,'executor-8','framework-1',1780.0,1980.0,NULL,NULL,NULL,NULL,NULL,NULL);
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
	failures INTEGER NOT NULL, 
	log_complete BOOLEAN NOT NULL, 
	version INTEGER NOT NULL, 
	CONSTRAINT uq_builds_id UNIQUE (id)
);
INSERT INTO "builds" VALUES(1,'queued0000000000','ann','QUEUED',NULL,NULL,NULL,'https://git.example.org/queued.git','{"git":{"url":"https://git.example.org/queued.git","ref":"main","username":"ann","password":"git-secret"},"images":["registry.example.org/queued:1","registry.example.org/queued:latest"],"timeout":600.0,"queue_ttl":3600.0,"resources":{"cpus":1.0,"mem":512.0,"disk":100.0},"context":".","dockerfile":"Dockerfile","target":null,"build_args":{"A":"b"},"registry_auth":{"username":"robot","password":"registry-secret"},"constraints":[{"attribute":"rack","operator":"LIKE","value":"a|b"}],"priority":1,"labels":{"team":"queued"},"max_attempts":3,"webhooks":["https://chat.example.org/hooks/AbCdEf/webhook-secret"]}','{"commit":null,"digest":null,"images":[],"size":null,"timings":{}}',NULL,1000.0,1000.0,NULL,0.0,0,0,0);
INSERT INTO "builds" VALUES(2,'staging000000000','ann','STAGING',NULL,NULL,NULL,'https://git.example.org/staging.git','{"git":{"url":"https://git.example.org/staging.git","ref":"main","username":"ann","password":"git-secret"},"images":["registry.example.org/staging:1","registry.example.org/staging:latest"],"timeout":600.0,"queue_ttl":3600.0,"resources":{"cpus":1.0,"mem":512.0,"disk":100.0},"context":".","dockerfile":"Dockerfile","target":null,"build_args":{"A":"b"},"registry_auth":null,"constraints":[{"attribute":"rack","operator":"LIKE","value":"a|b"}],"priority":1,"labels":{"team":"staging"},"max_attempts":3,"webhooks":[]}','{"commit":null,"digest":null,"images":[],"size":null,"timings":{}}',NULL,1001.0,1110.0,NULL,0.0,0,0,1);
INSERT INTO "builds" VALUES(3,'running000000000','ann','RUNNING','PUSHING',NULL,NULL,'https://git.example.org/running.git','{"git":{"url":"https://git.example.org/running.git","ref":"main","username":"ann","password":"git-secret"},"images":["registry.example.org/running:1","registry.example.org/running:latest"],"timeout":600.0,"queue_ttl":3600.0,"resources":{"cpus":1.0,"mem":512.0,"disk":100.0},"context":".","dockerfile":"Dockerfile","target":null,"build_args":{"A":"b"},"registry_auth":{"username":"robot","password":"registry-secret"},"constraints":[{"attribute":"rack","operator":"LIKE","value":"a|b"}],"priority":1,"labels":{"team":"running"},"max_attempts":3,"webhooks":["https://chat.example.org/hooks/AbCdEf/webhook-secret"]}','{"commit":"c0ffeec0ffeec0ffeec0ffeec0ffeec0ffeeabcd","digest":null,"images":[],"size":null,"timings":{"cloning":1.5}}',NULL,1002.0,1320.0,NULL,0.0,0,0,5);
INSERT INTO "builds" VALUES(4,'cancelling000000','ann','CANCELLING','BUILDING',NULL,'cancelled by bob','https://git.example.org/cancelling.git','{"git":{"url":"https://git.example.org/cancelling.git","ref":"main","username":"ann","password":"git-secret"},"images":["registry.example.org/cancelling:1","registry.example.org/cancelling:latest"],"timeout":600.0,"queue_ttl":3600.0,"resources":{"cpus":1.0,"mem":512.0,"disk":100.0},"context":".","dockerfile":"Dockerfile","target":null,"build_args":{"A":"b"},"registry_auth":null,"constraints":[{"attribute":"rack","operator":"LIKE","value":"a|b"}],"priority":1,"labels":{"team":"cancelling"},"max_attempts":3,"webhooks":[]}','{"commit":"c0ffeec0ffeec0ffeec0ffeec0ffeec0ffeeabcd","digest":null,"images":[],"size":null,"timings":{"cloning":1.5}}','{"state":"CANCELLED","reason":"cancelled","message":"cancelled by bob","requested_at":1530.0,"kills":1,"killed_at":1530.0}',1003.0,1530.0,NULL,0.0,0,0,3);
INSERT INTO "builds" VALUES(5,'unreachable00000','ann','UNREACHABLE','BUILDING',NULL,'agent lost','https://git.example.org/unreachable.git','{"git":{"url":"https://git.example.org/unreachable.git","ref":"main","username":"ann","password":"git-secret"},"images":["registry.example.org/unreachable:1","registry.example.org/unreachable:latest"],"timeout":600.0,"queue_ttl":3600.0,"resources":{"cpus":1.0,"mem":512.0,"disk":100.0},"context":".","dockerfile":"Dockerfile","target":null,"build_args":{"A":"b"},"registry_auth":null,"constraints":[{"attribute":"rack","operator":"LIKE","value":"a|b"}],"priority":1,"labels":{"team":"unreachable"},"max_attempts":3,"webhooks":[]}','{"commit":"c0ffeec0ffeec0ffeec0ffeec0ffeec0ffeeabcd","digest":null,"images":[],"size":null,"timings":{"cloning":1.5}}',NULL,1004.0,1540.0,NULL,0.0,0,0,3);
INSERT INTO "builds" VALUES(6,'succeeded0000000','ann','SUCCEEDED',NULL,NULL,NULL,'https://git.example.org/succeeded.git','{"git":{"url":"https://git.example.org/succeeded.git","ref":"main","username":"ann","password":"git-secret"},"images":["registry.example.org/succeeded:1","registry.example.org/succeeded:latest"],"timeout":600.0,"queue_ttl":3600.0,"resources":{"cpus":1.0,"mem":512.0,"disk":100.0},"context":".","dockerfile":"Dockerfile","target":null,"build_args":{"A":"b"},"registry_auth":{"username":"robot","password":"registry-secret"},"constraints":[{"attribute":"rack","operator":"LIKE","value":"a|b"}],"priority":1,"labels":{"team":"succeeded"},"max_attempts":3,"webhooks":[]}','{"commit":"c0ffeec0ffeec0ffeec0ffeec0ffeec0ffeeabcd","digest":"sha256:1111111111111111111111111111111111111111111111111111111111111111","images":[{"name":"registry.example.org/succeeded:1","digest":"sha256:1111111111111111111111111111111111111111111111111111111111111111"},{"name":"registry.example.org/succeeded:latest","digest":"sha256:1111111111111111111111111111111111111111111111111111111111111111"}],"size":4096,"timings":{"cloning":1.5,"building":20.0,"pushing":3.25}}',NULL,1005.0,2150.0,2150.0,0.0,0,1,7);
INSERT INTO "builds" VALUES(7,'failed0000000000','ann','FAILED','BUILDING','step_failed','the step `make` failed','https://git.example.org/failed.git','{"git":{"url":"https://git.example.org/failed.git","ref":"main","username":"ann","password":"git-secret"},"images":["registry.example.org/failed:1","registry.example.org/failed:latest"],"timeout":600.0,"queue_ttl":3600.0,"resources":{"cpus":1.0,"mem":512.0,"disk":100.0},"context":".","dockerfile":"Dockerfile","target":null,"build_args":{"A":"b"},"registry_auth":null,"constraints":[{"attribute":"rack","operator":"LIKE","value":"a|b"}],"priority":1,"labels":{"team":"failed"},"max_attempts":3,"webhooks":["https://chat.example.org/hooks/AbCdEf/webhook-secret"]}','{"commit":"c0ffeec0ffeec0ffeec0ffeec0ffeec0ffeeabcd","digest":null,"images":[],"size":null,"timings":{"cloning":1.5}}',NULL,1006.0,1560.0,1560.0,0.0,0,0,3);
INSERT INTO "builds" VALUES(8,'cancelled0000000','ann','CANCELLED',NULL,'cancelled','cancelled by bob','https://git.example.org/cancelled.git','{"git":{"url":"https://git.example.org/cancelled.git","ref":"main","username":"ann","password":"git-secret"},"images":["registry.example.org/cancelled:1","registry.example.org/cancelled:latest"],"timeout":600.0,"queue_ttl":3600.0,"resources":{"cpus":1.0,"mem":512.0,"disk":100.0},"context":".","dockerfile":"Dockerfile","target":null,"build_args":{"A":"b"},"registry_auth":null,"constraints":[{"attribute":"rack","operator":"LIKE","value":"a|b"}],"priority":1,"labels":{"team":"cancelled"},"max_attempts":3,"webhooks":[]}','{"commit":null,"digest":null,"images":[],"size":null,"timings":{}}',NULL,1007.0,1170.0,1170.0,0.0,0,1,1);
INSERT INTO "builds" VALUES(9,'again00000000000','ann','RUNNING','CLONING',NULL,NULL,'https://git.example.org/again.git','{"git":{"url":"https://git.example.org/again.git","ref":"main","username":"ann","password":"git-secret"},"images":["registry.example.org/again:1","registry.example.org/again:latest"],"timeout":600.0,"queue_ttl":3600.0,"resources":{"cpus":1.0,"mem":512.0,"disk":100.0},"context":".","dockerfile":"Dockerfile","target":null,"build_args":{"A":"b"},"registry_auth":null,"constraints":[{"attribute":"rack","operator":"LIKE","value":"a|b"}],"priority":1,"labels":{"team":"again"},"max_attempts":3,"webhooks":[]}','{"commit":"c0ffeec0ffeec0ffeec0ffeec0ffeec0ffeeabcd","digest":null,"images":[],"size":null,"timings":{"cloning":1.5}}',NULL,1008.0,1980.0,NULL,1582.0,1,0,5);
CREATE TABLE deliveries (
	seq INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT, 
	id VARCHAR(40) NOT NULL, 
	build_id VARCHAR(32) NOT NULL, 
	event VARCHAR(32) NOT NULL, 
	url TEXT NOT NULL, 
	host VARCHAR(260) NOT NULL, 
	payload TEXT NOT NULL, 
	state VARCHAR(16) NOT NULL, 
	created_at FLOAT NOT NULL, 
	next_at FLOAT, 
	tries INTEGER NOT NULL, 
	failures INTEGER NOT NULL, 
	ended_at FLOAT, 
	CONSTRAINT fk_deliveries_build_id_builds FOREIGN KEY(build_id) REFERENCES builds (id), 
	CONSTRAINT uq_deliveries_id UNIQUE (id)
);
INSERT INTO "deliveries" VALUES(1,'msg_df81b31edd6be56bc883c80b9e6a0283','queued0000000000','build.queued','https://hooks.example.org/operator-secret','hooks.example.org:443','{"type":"build.queued","timestamp":"1970-01-01T00:16:40.000Z","data":{"id":"queued0000000000","sequence":1,"state":"QUEUED","reason":null,"message":null,"owner":"ann","source":{"git":{"url":"https://git.example.org/queued.git","ref":"main"}},"commit":null,"images":["registry.example.org/queued:1","registry.example.org/queued:latest"],"digest":null,"labels":{"team":"queued"},"attempts":0,"created_at":"1970-01-01T00:16:40.000Z","started_at":null,"ended_at":null,"link":"https://builder.example.org/api/v1/builds/queued0000000000"}}','PENDING',1000.0,1000.0,0,0,NULL);
INSERT INTO "deliveries" VALUES(2,'msg_7b998ae1fb25090f00391392a5945a79','queued0000000000','build.queued','https://chat.example.org/hooks/AbCdEf/webhook-secret','chat.example.org:443','{"type":"build.queued","timestamp":"1970-01-01T00:16:40.000Z","data":{"id":"queued0000000000","sequence":1,"state":"QUEUED","reason":null,"message":null,"owner":"ann","source":{"git":{"url":"https://git.example.org/queued.git","ref":"main"}},"commit":null,"images":["registry.example.org/queued:1","registry.example.org/queued:latest"],"digest":null,"labels":{"team":"queued"},"attempts":0,"created_at":"1970-01-01T00:16:40.000Z","started_at":null,"ended_at":null,"link":"https://builder.example.org/api/v1/builds/queued0000000000"}}','PENDING',1000.0,1000.0,0,0,NULL);
INSERT INTO "deliveries" VALUES(3,'msg_0cec00890df07bf566fc3a7c7395b411','staging000000000','build.queued','https://hooks.example.org/operator-secret','hooks.example.org:443','{"type":"build.queued","timestamp":"1970-01-01T00:16:41.000Z","data":{"id":"staging000000000","sequence":1,"state":"QUEUED","reason":null,"message":null,"owner":"ann","source":{"git":{"url":"https://git.example.org/staging.git","ref":"main"}},"commit":null,"images":["registry.example.org/staging:1","registry.example.org/staging:latest"],"digest":null,"labels":{"team":"staging"},"attempts":0,"created_at":"1970-01-01T00:16:41.000Z","started_at":null,"ended_at":null,"link":"https://builder.example.org/api/v1/builds/staging000000000"}}','PENDING',1001.0,1001.0,0,0,NULL);
INSERT INTO "deliveries" VALUES(4,'msg_398c4865907e08f50420accd983a2f60','running000000000','build.queued','https://hooks.example.org/operator-secret','hooks.example.org:443','{"type":"build.queued","timestamp":"1970-01-01T00:16:42.000Z","data":{"id":"running000000000","sequence":1,"state":"QUEUED","reason":null,"message":null,"owner":"ann","source":{"git":{"url":"https://git.example.org/running.git","ref":"main"}},"commit":null,"images":["registry.example.org/running:1","registry.example.org/running:latest"],"digest":null,"labels":{"team":"running"},"attempts":0,"created_at":"1970-01-01T00:16:42.000Z","started_at":null,"ended_at":null,"link":"https://builder.example.org/api/v1/builds/running000000000"}}','PENDING',1002.0,1002.0,0,0,NULL);
INSERT INTO "deliveries" VALUES(5,'msg_ba932ae3b01a020f8f47e9951e2216d6','running000000000','build.queued','https://chat.example.org/hooks/AbCdEf/webhook-secret','chat.example.org:443','{"type":"build.queued","timestamp":"1970-01-01T00:16:42.000Z","data":{"id":"running000000000","sequence":1,"state":"QUEUED","reason":null,"message":null,"owner":"ann","source":{"git":{"url":"https://git.example.org/running.git","ref":"main"}},"commit":null,"images":["registry.example.org/running:1","registry.example.org/running:latest"],"digest":null,"labels":{"team":"running"},"attempts":0,"created_at":"1970-01-01T00:16:42.000Z","started_at":null,"ended_at":null,"link":"https://builder.example.org/api/v1/builds/running000000000"}}','PENDING',1002.0,1002.0,0,0,NULL);
INSERT INTO "deliveries" VALUES(6,'msg_7c5697c1c527ec8077c851813efa5309','running000000000','build.started','https://hooks.example.org/operator-secret','hooks.example.org:443','{"type":"build.started","timestamp":"1970-01-01T00:22:00.000Z","data":{"id":"running000000000","sequence":2,"state":"RUNNING","reason":null,"message":null,"owner":"ann","source":{"git":{"url":"https://git.example.org/running.git","ref":"main"}},"commit":"c0ffeec0ffeec0ffeec0ffeec0ffeec0ffeeabcd","images":["registry.example.org/running:1","registry.example.org/running:latest"],"digest":null,"labels":{"team":"running"},"attempts":1,"created_at":"1970-01-01T00:16:42.000Z","started_at":"1970-01-01T00:22:00.000Z","ended_at":null,"link":"https://builder.example.org/api/v1/builds/running000000000"}}','PENDING',1320.0,1320.0,0,0,NULL);
INSERT INTO "deliveries" VALUES(7,'msg_4faaad984d21279ce0022ee5749136b9','running000000000','build.started','https://chat.example.org/hooks/AbCdEf/webhook-secret','chat.example.org:443','{"type":"build.started","timestamp":"1970-01-01T00:22:00.000Z","data":{"id":"running000000000","sequence":2,"state":"RUNNING","reason":null,"message":null,"owner":"ann","source":{"git":{"url":"https://git.example.org/running.git","ref":"main"}},"commit":"c0ffeec0ffeec0ffeec0ffeec0ffeec0ffeeabcd","images":["registry.example.org/running:1","registry.example.org/running:latest"],"digest":null,"labels":{"team":"running"},"attempts":1,"created_at":"1970-01-01T00:16:42.000Z","started_at":"1970-01-01T00:22:00.000Z","ended_at":null,"link":"https://builder.example.org/api/v1/builds/running000000000"}}','PENDING',1320.0,1320.0,0,0,NULL);
INSERT INTO "deliveries" VALUES(8,'msg_d8d56f10d8f2f91170dea28bdc544cc3','cancelling000000','build.queued','https://hooks.example.org/operator-secret','hooks.example.org:443','{"type":"build.queued","timestamp":"1970-01-01T00:16:43.000Z","data":{"id":"cancelling000000","sequence":1,"state":"QUEUED","reason":null,"message":null,"owner":"ann","source":{"git":{"url":"https://git.example.org/cancelling.git","ref":"main"}},"commit":null,"images":["registry.example.org/cancelling:1","registry.example.org/cancelling:latest"],"digest":null,"labels":{"team":"cancelling"},"attempts":0,"created_at":"1970-01-01T00:16:43.000Z","started_at":null,"ended_at":null,"link":"https://builder.example.org/api/v1/builds/cancelling000000"}}','PENDING',1003.0,1003.0,0,0,NULL);
INSERT INTO "deliveries" VALUES(9,'msg_a398c1d62b174756302d8c2f4fa94e08','cancelling000000','build.started','https://hooks.example.org/operator-secret','hooks.example.org:443','{"type":"build.started","timestamp":"1970-01-01T00:22:10.000Z","data":{"id":"cancelling000000","sequence":2,"state":"RUNNING","reason":null,"message":null,"owner":"ann","source":{"git":{"url":"https://git.example.org/cancelling.git","ref":"main"}},"commit":"c0ffeec0ffeec0ffeec0ffeec0ffeec0ffeeabcd","images":["registry.example.org/cancelling:1","registry.example.org/cancelling:latest"],"digest":null,"labels":{"team":"cancelling"},"attempts":1,"created_at":"1970-01-01T00:16:43.000Z","started_at":"1970-01-01T00:22:10.000Z","ended_at":null,"link":"https://builder.example.org/api/v1/builds/cancelling000000"}}','PENDING',1330.0,1330.0,0,0,NULL);
INSERT INTO "deliveries" VALUES(10,'msg_997dd47b049906b25ea7b7027cc1eaff','unreachable00000','build.queued','https://hooks.example.org/operator-secret','hooks.example.org:443','{"type":"build.queued","timestamp":"1970-01-01T00:16:44.000Z","data":{"id":"unreachable00000","sequence":1,"state":"QUEUED","reason":null,"message":null,"owner":"ann","source":{"git":{"url":"https://git.example.org/unreachable.git","ref":"main"}},"commit":null,"images":["registry.example.org/unreachable:1","registry.example.org/unreachable:latest"],"digest":null,"labels":{"team":"unreachable"},"attempts":0,"created_at":"1970-01-01T00:16:44.000Z","started_at":null,"ended_at":null,"link":"https://builder.example.org/api/v1/builds/unreachable00000"}}','PENDING',1004.0,1004.0,0,0,NULL);
INSERT INTO "deliveries" VALUES(11,'msg_380a0f6afaf513f1054048e2ccfedec1','unreachable00000','build.started','https://hooks.example.org/operator-secret','hooks.example.org:443','{"type":"build.started","timestamp":"1970-01-01T00:22:20.000Z","data":{"id":"unreachable00000","sequence":2,"state":"RUNNING","reason":null,"message":null,"owner":"ann","source":{"git":{"url":"https://git.example.org/unreachable.git","ref":"main"}},"commit":"c0ffeec0ffeec0ffeec0ffeec0ffeec0ffeeabcd","images":["registry.example.org/unreachable:1","registry.example.org/unreachable:latest"],"digest":null,"labels":{"team":"unreachable"},"attempts":1,"created_at":"1970-01-01T00:16:44.000Z","started_at":"1970-01-01T00:22:20.000Z","ended_at":null,"link":"https://builder.example.org/api/v1/builds/unreachable00000"}}','PENDING',1340.0,1340.0,0,0,NULL);
INSERT INTO "deliveries" VALUES(12,'msg_3b1503e46ddcd2a750181b64f5b28512','succeeded0000000','build.queued','https://hooks.example.org/operator-secret','hooks.example.org:443','{"type":"build.queued","timestamp":"1970-01-01T00:16:45.000Z","data":{"id":"succeeded0000000","sequence":1,"state":"QUEUED","reason":null,"message":null,"owner":"ann","source":{"git":{"url":"https://git.example.org/succeeded.git","ref":"main"}},"commit":null,"images":["registry.example.org/succeeded:1","registry.example.org/succeeded:latest"],"digest":null,"labels":{"team":"succeeded"},"attempts":0,"created_at":"1970-01-01T00:16:45.000Z","started_at":null,"ended_at":null,"link":"https://builder.example.org/api/v1/builds/succeeded0000000"}}','DELIVERED',1005.0,NULL,1,0,1700.5);
INSERT INTO "deliveries" VALUES(13,'msg_c62ab666b7c2eb00d3be710393bcc9f1','succeeded0000000','build.started','https://hooks.example.org/operator-secret','hooks.example.org:443','{"type":"build.started","timestamp":"1970-01-01T00:22:30.000Z","data":{"id":"succeeded0000000","sequence":2,"state":"RUNNING","reason":null,"message":null,"owner":"ann","source":{"git":{"url":"https://git.example.org/succeeded.git","ref":"main"}},"commit":"c0ffeec0ffeec0ffeec0ffeec0ffeec0ffeeabcd","images":["registry.example.org/succeeded:1","registry.example.org/succeeded:latest"],"digest":null,"labels":{"team":"succeeded"},"attempts":1,"created_at":"1970-01-01T00:16:45.000Z","started_at":"1970-01-01T00:22:30.000Z","ended_at":null,"link":"https://builder.example.org/api/v1/builds/succeeded0000000"}}','DELIVERED',1350.0,NULL,1,0,1700.5);
INSERT INTO "deliveries" VALUES(14,'msg_c72f8126dce79ff01a97224815333149','succeeded0000000','build.finished','https://hooks.example.org/operator-secret','hooks.example.org:443','{"type":"build.finished","timestamp":"1970-01-01T00:35:50.000Z","data":{"id":"succeeded0000000","sequence":3,"state":"SUCCEEDED","reason":null,"message":null,"owner":"ann","source":{"git":{"url":"https://git.example.org/succeeded.git","ref":"main"}},"commit":"c0ffeec0ffeec0ffeec0ffeec0ffeec0ffeeabcd","images":["registry.example.org/succeeded:1","registry.example.org/succeeded:latest"],"digest":"sha256:1111111111111111111111111111111111111111111111111111111111111111","labels":{"team":"succeeded"},"attempts":1,"created_at":"1970-01-01T00:16:45.000Z","started_at":"1970-01-01T00:22:30.000Z","ended_at":"1970-01-01T00:35:50.000Z","link":"https://builder.example.org/api/v1/builds/succeeded0000000"}}','DELIVERED',2150.0,NULL,1,0,1700.5);
INSERT INTO "deliveries" VALUES(15,'msg_b062a102dd7332312cf15f6df099be8b','failed0000000000','build.queued','https://hooks.example.org/operator-secret','hooks.example.org:443','{"type":"build.queued","timestamp":"1970-01-01T00:16:46.000Z","data":{"id":"failed0000000000","sequence":1,"state":"QUEUED","reason":null,"message":null,"owner":"ann","source":{"git":{"url":"https://git.example.org/failed.git","ref":"main"}},"commit":null,"images":["registry.example.org/failed:1","registry.example.org/failed:latest"],"digest":null,"labels":{"team":"failed"},"attempts":0,"created_at":"1970-01-01T00:16:46.000Z","started_at":null,"ended_at":null,"link":"https://builder.example.org/api/v1/builds/failed0000000000"}}','PENDING',1006.0,1705.5,1,1,NULL);
INSERT INTO "deliveries" VALUES(16,'msg_03e8d1d881f04c6fe98028cfb38830c3','failed0000000000','build.queued','https://chat.example.org/hooks/AbCdEf/webhook-secret','chat.example.org:443','{"type":"build.queued","timestamp":"1970-01-01T00:16:46.000Z","data":{"id":"failed0000000000","sequence":1,"state":"QUEUED","reason":null,"message":null,"owner":"ann","source":{"git":{"url":"https://git.example.org/failed.git","ref":"main"}},"commit":null,"images":["registry.example.org/failed:1","registry.example.org/failed:latest"],"digest":null,"labels":{"team":"failed"},"attempts":0,"created_at":"1970-01-01T00:16:46.000Z","started_at":null,"ended_at":null,"link":"https://builder.example.org/api/v1/builds/failed0000000000"}}','PENDING',1006.0,1705.5,1,1,NULL);
INSERT INTO "deliveries" VALUES(17,'msg_8befd0e992cc5af4271975d7220cd37a','failed0000000000','build.started','https://hooks.example.org/operator-secret','hooks.example.org:443','{"type":"build.started","timestamp":"1970-01-01T00:22:40.000Z","data":{"id":"failed0000000000","sequence":2,"state":"RUNNING","reason":null,"message":null,"owner":"ann","source":{"git":{"url":"https://git.example.org/failed.git","ref":"main"}},"commit":"c0ffeec0ffeec0ffeec0ffeec0ffeec0ffeeabcd","images":["registry.example.org/failed:1","registry.example.org/failed:latest"],"digest":null,"labels":{"team":"failed"},"attempts":1,"created_at":"1970-01-01T00:16:46.000Z","started_at":"1970-01-01T00:22:40.000Z","ended_at":null,"link":"https://builder.example.org/api/v1/builds/failed0000000000"}}','PENDING',1360.0,1705.5,1,1,NULL);
INSERT INTO "deliveries" VALUES(18,'msg_abd4714a5d20b8e38b3b6dd04412a51d','failed0000000000','build.started','https://chat.example.org/hooks/AbCdEf/webhook-secret','chat.example.org:443','{"type":"build.started","timestamp":"1970-01-01T00:22:40.000Z","data":{"id":"failed0000000000","sequence":2,"state":"RUNNING","reason":null,"message":null,"owner":"ann","source":{"git":{"url":"https://git.example.org/failed.git","ref":"main"}},"commit":"c0ffeec0ffeec0ffeec0ffeec0ffeec0ffeeabcd","images":["registry.example.org/failed:1","registry.example.org/failed:latest"],"digest":null,"labels":{"team":"failed"},"attempts":1,"created_at":"1970-01-01T00:16:46.000Z","started_at":"1970-01-01T00:22:40.000Z","ended_at":null,"link":"https://builder.example.org/api/v1/builds/failed0000000000"}}','PENDING',1360.0,1705.5,1,1,NULL);
INSERT INTO "deliveries" VALUES(19,'msg_90b60d8a175a0590d1c8d954f7c30a47','failed0000000000','build.finished','https://hooks.example.org/operator-secret','hooks.example.org:443','{"type":"build.finished","timestamp":"1970-01-01T00:26:00.000Z","data":{"id":"failed0000000000","sequence":3,"state":"FAILED","reason":"step_failed","message":"the step `make` failed","owner":"ann","source":{"git":{"url":"https://git.example.org/failed.git","ref":"main"}},"commit":"c0ffeec0ffeec0ffeec0ffeec0ffeec0ffeeabcd","images":["registry.example.org/failed:1","registry.example.org/failed:latest"],"digest":null,"labels":{"team":"failed"},"attempts":1,"created_at":"1970-01-01T00:16:46.000Z","started_at":"1970-01-01T00:22:40.000Z","ended_at":"1970-01-01T00:26:00.000Z","link":"https://builder.example.org/api/v1/builds/failed0000000000"}}','PENDING',1560.0,1705.5,1,1,NULL);
INSERT INTO "deliveries" VALUES(20,'msg_857da913c00c24ca5a0a090655ccf1d6','failed0000000000','build.finished','https://chat.example.org/hooks/AbCdEf/webhook-secret','chat.example.org:443','{"type":"build.finished","timestamp":"1970-01-01T00:26:00.000Z","data":{"id":"failed0000000000","sequence":3,"state":"FAILED","reason":"step_failed","message":"the step `make` failed","owner":"ann","source":{"git":{"url":"https://git.example.org/failed.git","ref":"main"}},"commit":"c0ffeec0ffeec0ffeec0ffeec0ffeec0ffeeabcd","images":["registry.example.org/failed:1","registry.example.org/failed:latest"],"digest":null,"labels":{"team":"failed"},"attempts":1,"created_at":"1970-01-01T00:16:46.000Z","started_at":"1970-01-01T00:22:40.000Z","ended_at":"1970-01-01T00:26:00.000Z","link":"https://builder.example.org/api/v1/builds/failed0000000000"}}','PENDING',1560.0,1705.5,1,1,NULL);
INSERT INTO "deliveries" VALUES(21,'msg_afd7ac4f9167dcb48d06f6a32a1c48a8','cancelled0000000','build.queued','https://hooks.example.org/operator-secret','hooks.example.org:443','{"type":"build.queued","timestamp":"1970-01-01T00:16:47.000Z","data":{"id":"cancelled0000000","sequence":1,"state":"QUEUED","reason":null,"message":null,"owner":"ann","source":{"git":{"url":"https://git.example.org/cancelled.git","ref":"main"}},"commit":null,"images":["registry.example.org/cancelled:1","registry.example.org/cancelled:latest"],"digest":null,"labels":{"team":"cancelled"},"attempts":0,"created_at":"1970-01-01T00:16:47.000Z","started_at":null,"ended_at":null,"link":"https://builder.example.org/api/v1/builds/cancelled0000000"}}','PENDING',1007.0,1007.0,0,0,NULL);
INSERT INTO "deliveries" VALUES(22,'msg_41d4dc1d9750d057a7a259331655abd1','cancelled0000000','build.finished','https://hooks.example.org/operator-secret','hooks.example.org:443','{"type":"build.finished","timestamp":"1970-01-01T00:19:30.000Z","data":{"id":"cancelled0000000","sequence":2,"state":"CANCELLED","reason":"cancelled","message":"cancelled by bob","owner":"ann","source":{"git":{"url":"https://git.example.org/cancelled.git","ref":"main"}},"commit":null,"images":["registry.example.org/cancelled:1","registry.example.org/cancelled:latest"],"digest":null,"labels":{"team":"cancelled"},"attempts":0,"created_at":"1970-01-01T00:16:47.000Z","started_at":null,"ended_at":"1970-01-01T00:19:30.000Z","link":"https://builder.example.org/api/v1/builds/cancelled0000000"}}','PENDING',1170.0,1170.0,0,0,NULL);
INSERT INTO "deliveries" VALUES(23,'msg_c9a0b4cb430a9d4824ab4a6e96c1eced','again00000000000','build.queued','https://hooks.example.org/operator-secret','hooks.example.org:443','{"type":"build.queued","timestamp":"1970-01-01T00:16:48.000Z","data":{"id":"again00000000000","sequence":1,"state":"QUEUED","reason":null,"message":null,"owner":"ann","source":{"git":{"url":"https://git.example.org/again.git","ref":"main"}},"commit":null,"images":["registry.example.org/again:1","registry.example.org/again:latest"],"digest":null,"labels":{"team":"again"},"attempts":0,"created_at":"1970-01-01T00:16:48.000Z","started_at":null,"ended_at":null,"link":"https://builder.example.org/api/v1/builds/again00000000000"}}','PENDING',1008.0,1008.0,0,0,NULL);
INSERT INTO "deliveries" VALUES(24,'msg_b89d67d4e70dab4fcbcc89bff1648af8','again00000000000','build.started','https://hooks.example.org/operator-secret','hooks.example.org:443','{"type":"build.started","timestamp":"1970-01-01T00:23:00.000Z","data":{"id":"again00000000000","sequence":2,"state":"RUNNING","reason":null,"message":null,"owner":"ann","source":{"git":{"url":"https://git.example.org/again.git","ref":"main"}},"commit":"c0ffeec0ffeec0ffeec0ffeec0ffeec0ffeeabcd","images":["registry.example.org/again:1","registry.example.org/again:latest"],"digest":null,"labels":{"team":"again"},"attempts":1,"created_at":"1970-01-01T00:16:48.000Z","started_at":"1970-01-01T00:23:00.000Z","ended_at":null,"link":"https://builder.example.org/api/v1/builds/again00000000000"}}','PENDING',1380.0,1380.0,0,0,NULL);
INSERT INTO "deliveries" VALUES(25,'msg_23a5c064b10a202b8dee12f916b084a7','again00000000000','build.retried','https://hooks.example.org/operator-secret','hooks.example.org:443','{"type":"build.retried","timestamp":"1970-01-01T00:29:40.000Z","data":{"id":"again00000000000","sequence":3,"state":"STAGING","reason":null,"message":null,"owner":"ann","source":{"git":{"url":"https://git.example.org/again.git","ref":"main"}},"commit":"c0ffeec0ffeec0ffeec0ffeec0ffeec0ffeeabcd","images":["registry.example.org/again:1","registry.example.org/again:latest"],"digest":null,"labels":{"team":"again"},"attempts":2,"created_at":"1970-01-01T00:16:48.000Z","started_at":"1970-01-01T00:23:00.000Z","ended_at":null,"link":"https://builder.example.org/api/v1/builds/again00000000000"}}','PENDING',1780.0,1780.0,0,0,NULL);
CREATE TABLE delivery_tries (
	delivery_id VARCHAR(40) NOT NULL, 
	number INTEGER NOT NULL, 
	at FLOAT NOT NULL, 
	seconds FLOAT NOT NULL, 
	status INTEGER, 
	error TEXT, 
	CONSTRAINT pk_delivery_tries PRIMARY KEY (delivery_id, number), 
	CONSTRAINT fk_delivery_tries_delivery_id_deliveries FOREIGN KEY(delivery_id) REFERENCES deliveries (id)
);
INSERT INTO "delivery_tries" VALUES('msg_3b1503e46ddcd2a750181b64f5b28512',1,1700.0,0.5,204,NULL);
INSERT INTO "delivery_tries" VALUES('msg_c62ab666b7c2eb00d3be710393bcc9f1',1,1700.0,0.5,204,NULL);
INSERT INTO "delivery_tries" VALUES('msg_c72f8126dce79ff01a97224815333149',1,1700.0,0.5,204,NULL);
INSERT INTO "delivery_tries" VALUES('msg_b062a102dd7332312cf15f6df099be8b',1,1700.0,0.5,500,'answered 500');
INSERT INTO "delivery_tries" VALUES('msg_03e8d1d881f04c6fe98028cfb38830c3',1,1700.0,0.5,500,'answered 500');
INSERT INTO "delivery_tries" VALUES('msg_8befd0e992cc5af4271975d7220cd37a',1,1700.0,0.5,500,'answered 500');
INSERT INTO "delivery_tries" VALUES('msg_abd4714a5d20b8e38b3b6dd04412a51d',1,1700.0,0.5,500,'answered 500');
INSERT INTO "delivery_tries" VALUES('msg_90b60d8a175a0590d1c8d954f7c30a47',1,1700.0,0.5,500,'answered 500');
INSERT INTO "delivery_tries" VALUES('msg_857da913c00c24ca5a0a090655ccf1d6',1,1700.0,0.5,500,'answered 500');
CREATE TABLE idempotency_keys (
	owner VARCHAR(64) NOT NULL, 
	"key" VARCHAR(255) NOT NULL, 
	fingerprint VARCHAR(64) NOT NULL, 
	build_id VARCHAR(32) NOT NULL, 
	CONSTRAINT pk_idempotency_keys PRIMARY KEY (owner, "key"), 
	CONSTRAINT fk_idempotency_keys_build_id_builds FOREIGN KEY(build_id) REFERENCES builds (id)
);
INSERT INTO "idempotency_keys" VALUES('ann','key-queued','b5baa2c28701b4dabe7bbdd6179278bf02fcc1e28a9944796d999d9430afe145','queued0000000000');
INSERT INTO "idempotency_keys" VALUES('ann','key-staging','0000000000000000000000000000000000000000000000000000000000000001','staging000000000');
INSERT INTO "idempotency_keys" VALUES('ann','key-running','0000000000000000000000000000000000000000000000000000000000000002','running000000000');
INSERT INTO "idempotency_keys" VALUES('ann','key-cancelling','0000000000000000000000000000000000000000000000000000000000000003','cancelling000000');
INSERT INTO "idempotency_keys" VALUES('ann','key-unreachable','0000000000000000000000000000000000000000000000000000000000000004','unreachable00000');
INSERT INTO "idempotency_keys" VALUES('ann','key-succeeded','0000000000000000000000000000000000000000000000000000000000000005','succeeded0000000');
INSERT INTO "idempotency_keys" VALUES('ann','key-failed','0000000000000000000000000000000000000000000000000000000000000006','failed0000000000');
INSERT INTO "idempotency_keys" VALUES('ann','key-cancelled','0000000000000000000000000000000000000000000000000000000000000007','cancelled0000000');
INSERT INTO "idempotency_keys" VALUES('ann','key-again','0000000000000000000000000000000000000000000000000000000000000008','again00000000000');
CREATE TABLE inbox (
	seq INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT, 
	kind VARCHAR(16) NOT NULL, 
	build_id VARCHAR(32) NOT NULL, 
	"by" VARCHAR(64) NOT NULL, 
	at FLOAT NOT NULL, 
	CONSTRAINT fk_inbox_build_id_builds FOREIGN KEY(build_id) REFERENCES builds (id)
);
INSERT INTO "inbox" VALUES(1,'submitted','queued0000000000','ann',1000.0);
INSERT INTO "inbox" VALUES(3,'cancel','running000000000','eve',1600.0);
CREATE TABLE leadership (
	id INTEGER NOT NULL, 
	token BIGINT NOT NULL, 
	holder VARCHAR(255) NOT NULL, 
	url TEXT, 
	since FLOAT NOT NULL, 
	CONSTRAINT pk_leadership PRIMARY KEY (id)
);
INSERT INTO "leadership" VALUES(1,1,'old:1','http://old:8080',1500.0);
CREATE TABLE log_chunks (
	build_id VARCHAR(32) NOT NULL, 
	"offset" BIGINT NOT NULL, 
	data BLOB NOT NULL, 
	CONSTRAINT pk_log_chunks PRIMARY KEY (build_id, "offset"), 
	CONSTRAINT fk_log_chunks_build_id_builds FOREIGN KEY(build_id) REFERENCES builds (id)
);
INSERT INTO "log_chunks" VALUES('succeeded0000000',0,X'3D3D20434C4F4E494E470A');
INSERT INTO "log_chunks" VALUES('succeeded0000000',11,X'3D3D204255494C44494E470A');
CREATE TABLE settings (
	name VARCHAR(64) NOT NULL, 
	value TEXT NOT NULL, 
	CONSTRAINT pk_settings PRIMARY KEY (name)
);
INSERT INTO "settings" VALUES('ping','');
INSERT INTO "settings" VALUES('framework_id','framework-1');
CREATE INDEX ix_builds_git_url_seq ON builds (git_url, seq);
CREATE INDEX ix_builds_log_complete ON builds (log_complete);
CREATE INDEX ix_builds_owner_seq ON builds (owner, seq);
CREATE INDEX ix_builds_state_seq ON builds (state, seq);
CREATE INDEX ix_build_images_image ON build_images (image);
CREATE INDEX ix_build_labels_key ON build_labels ("key");
CREATE INDEX ix_deliveries_build_id_seq ON deliveries (build_id, seq);
CREATE INDEX ix_deliveries_state_host_next_at ON deliveries (state, host, next_at);
DELETE FROM "sqlite_sequence";
INSERT INTO "sqlite_sequence" VALUES('builds',9);
INSERT INTO "sqlite_sequence" VALUES('deliveries',25);
INSERT INTO "sqlite_sequence" VALUES('inbox',3);
COMMIT;
