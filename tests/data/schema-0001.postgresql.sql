CREATE TABLE public.alembic_version (
    version_num character varying(32) NOT NULL
);
CREATE TABLE public.attempts (
    build_id character varying(32) NOT NULL,
    number integer NOT NULL,
    task_id character varying(255) NOT NULL,
    agent_id character varying(255) NOT NULL,
    hostname character varying(255) NOT NULL,
    agent_url text NOT NULL,
    slot integer NOT NULL,
    executor_id character varying(255) NOT NULL,
    framework_id character varying(255) NOT NULL,
    placed_at double precision NOT NULL,
    running_at double precision,
    ended_at double precision,
    reason character varying(64),
    message text,
    log_offset bigint
);
CREATE TABLE public.build_images (
    build_id character varying(32) NOT NULL,
    image character varying(512) NOT NULL
);
CREATE TABLE public.build_labels (
    build_id character varying(32) NOT NULL,
    key character varying(255) NOT NULL,
    value text NOT NULL
);
CREATE TABLE public.builds (
    seq bigint NOT NULL,
    id character varying(32) NOT NULL,
    owner character varying(64) NOT NULL,
    state character varying(16) NOT NULL,
    phase character varying(16),
    reason character varying(64),
    message text,
    git_url text NOT NULL,
    request text NOT NULL,
    result text NOT NULL,
    stop text,
    created_at double precision NOT NULL,
    state_since double precision NOT NULL,
    ended_at double precision,
    not_before double precision NOT NULL,
    launch_failures integer NOT NULL,
    log_complete boolean NOT NULL,
    version integer NOT NULL
);
CREATE SEQUENCE public.builds_seq_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1;
ALTER SEQUENCE public.builds_seq_seq OWNED BY public.builds.seq;
CREATE TABLE public.idempotency_keys (
    owner character varying(64) NOT NULL,
    key character varying(255) NOT NULL,
    fingerprint character varying(64) NOT NULL,
    build_id character varying(32) NOT NULL
);
CREATE TABLE public.settings (
    name character varying(64) NOT NULL,
    value text NOT NULL
);
ALTER TABLE ONLY public.builds ALTER COLUMN seq SET DEFAULT nextval('public.builds_seq_seq'::regclass);
INSERT INTO public.alembic_version VALUES ('0001');
INSERT INTO public.attempts VALUES ('staging000000000', 1, 'staging000000000.1', 'agent-1', 'host1', 'http://10.0.0.1:5051', 1, 'executor-1', 'framework-1', 1110, NULL, NULL, NULL, NULL, NULL);
INSERT INTO public.attempts VALUES ('running000000000', 1, 'running000000000.1', 'agent-2', 'host2', 'http://10.0.0.2:5051', 2, 'executor-2', 'framework-1', 1120, 1320, NULL, NULL, NULL, 0);
INSERT INTO public.attempts VALUES ('cancelling000000', 1, 'cancelling000000.1', 'agent-3', 'host3', 'http://10.0.0.3:5051', 3, 'executor-3', 'framework-1', 1130, 1330, NULL, NULL, NULL, NULL);
INSERT INTO public.attempts VALUES ('unreachable00000', 1, 'unreachable00000.1', 'agent-4', 'host4', 'http://10.0.0.4:5051', 4, 'executor-4', 'framework-1', 1140, 1340, NULL, NULL, NULL, NULL);
INSERT INTO public.attempts VALUES ('succeeded0000000', 1, 'succeeded0000000.1', 'agent-5', 'host5', 'http://10.0.0.5:5051', 5, 'executor-5', 'framework-1', 1150, 1350, 1750, NULL, NULL, 0);
INSERT INTO public.attempts VALUES ('failed0000000000', 1, 'failed0000000000.1', 'agent-6', 'host6', 'http://10.0.0.6:5051', 6, 'executor-6', 'framework-1', 1160, 1360, 1560, 'step_failed', 'the step `make` failed', NULL);
INSERT INTO public.attempts VALUES ('again00000000000', 1, 'again00000000000.1', 'agent-7', 'host7', 'http://10.0.0.7:5051', 7, 'executor-7', 'framework-1', 1180, NULL, 1380, 'launch_failed', 'no such image', NULL);
INSERT INTO public.attempts VALUES ('again00000000000', 2, 'again00000000000.2', 'agent-8', 'host8', 'http://10.0.0.8:5051', 8, 'executor-8', 'framework-1', 1580, 1780, NULL, NULL, NULL, NULL);
INSERT INTO public.build_images VALUES ('queued0000000000', 'registry.example.org/queued:1');
INSERT INTO public.build_images VALUES ('queued0000000000', 'registry.example.org/queued:latest');
INSERT INTO public.build_images VALUES ('staging000000000', 'registry.example.org/staging:1');
INSERT INTO public.build_images VALUES ('staging000000000', 'registry.example.org/staging:latest');
INSERT INTO public.build_images VALUES ('running000000000', 'registry.example.org/running:1');
INSERT INTO public.build_images VALUES ('running000000000', 'registry.example.org/running:latest');
INSERT INTO public.build_images VALUES ('cancelling000000', 'registry.example.org/cancelling:1');
INSERT INTO public.build_images VALUES ('cancelling000000', 'registry.example.org/cancelling:latest');
INSERT INTO public.build_images VALUES ('unreachable00000', 'registry.example.org/unreachable:1');
INSERT INTO public.build_images VALUES ('unreachable00000', 'registry.example.org/unreachable:latest');
INSERT INTO public.build_images VALUES ('succeeded0000000', 'registry.example.org/succeeded:1');
INSERT INTO public.build_images VALUES ('succeeded0000000', 'registry.example.org/succeeded:latest');
INSERT INTO public.build_images VALUES ('failed0000000000', 'registry.example.org/failed:1');
INSERT INTO public.build_images VALUES ('failed0000000000', 'registry.example.org/failed:latest');
INSERT INTO public.build_images VALUES ('cancelled0000000', 'registry.example.org/cancelled:1');
INSERT INTO public.build_images VALUES ('cancelled0000000', 'registry.example.org/cancelled:latest');
INSERT INTO public.build_images VALUES ('again00000000000', 'registry.example.org/again:1');
INSERT INTO public.build_images VALUES ('again00000000000', 'registry.example.org/again:latest');
INSERT INTO public.build_labels VALUES ('queued0000000000', 'team', 'queued');
INSERT INTO public.build_labels VALUES ('staging000000000', 'team', 'staging');
INSERT INTO public.build_labels VALUES ('running000000000', 'team', 'running');
INSERT INTO public.build_labels VALUES ('cancelling000000', 'team', 'cancelling');
INSERT INTO public.build_labels VALUES ('unreachable00000', 'team', 'unreachable');
INSERT INTO public.build_labels VALUES ('succeeded0000000', 'team', 'succeeded');
INSERT INTO public.build_labels VALUES ('failed0000000000', 'team', 'failed');
INSERT INTO public.build_labels VALUES ('cancelled0000000', 'team', 'cancelled');
INSERT INTO public.build_labels VALUES ('again00000000000', 'team', 'again');
INSERT INTO public.builds VALUES (1, 'queued0000000000', 'ann', 'QUEUED', NULL, NULL, NULL, 'https://git.example.org/queued.git', '{"git":{"url":"https://git.example.org/queued.git","ref":"main","username":"ann","password":"git-secret"},"images":["registry.example.org/queued:1","registry.example.org/queued:latest"],"timeout":600.0,"queue_ttl":3600.0,"resources":{"cpus":1.0,"mem":512.0,"disk":100.0},"context":".","dockerfile":"Dockerfile","target":null,"build_args":{"A":"b"},"registry_auth":null,"constraints":[{"attribute":"rack","operator":"LIKE","value":"a|b"}],"priority":1,"labels":{"team":"queued"}}', '{"commit":null,"digest":null,"images":[],"size":null,"timings":{}}', NULL, 1000, 1000, NULL, 0, 0, false, 0);
INSERT INTO public.builds VALUES (2, 'staging000000000', 'ann', 'STAGING', NULL, NULL, NULL, 'https://git.example.org/staging.git', '{"git":{"url":"https://git.example.org/staging.git","ref":"main","username":"ann","password":"git-secret"},"images":["registry.example.org/staging:1","registry.example.org/staging:latest"],"timeout":600.0,"queue_ttl":3600.0,"resources":{"cpus":1.0,"mem":512.0,"disk":100.0},"context":".","dockerfile":"Dockerfile","target":null,"build_args":{"A":"b"},"registry_auth":null,"constraints":[{"attribute":"rack","operator":"LIKE","value":"a|b"}],"priority":1,"labels":{"team":"staging"}}', '{"commit":null,"digest":null,"images":[],"size":null,"timings":{}}', NULL, 1001, 1110, NULL, 0, 0, false, 1);
INSERT INTO public.builds VALUES (3, 'running000000000', 'ann', 'RUNNING', 'BUILDING', NULL, NULL, 'https://git.example.org/running.git', '{"git":{"url":"https://git.example.org/running.git","ref":"main","username":"ann","password":"git-secret"},"images":["registry.example.org/running:1","registry.example.org/running:latest"],"timeout":600.0,"queue_ttl":3600.0,"resources":{"cpus":1.0,"mem":512.0,"disk":100.0},"context":".","dockerfile":"Dockerfile","target":null,"build_args":{"A":"b"},"registry_auth":null,"constraints":[{"attribute":"rack","operator":"LIKE","value":"a|b"}],"priority":1,"labels":{"team":"running"}}', '{"commit":"c0ffeec0ffeec0ffeec0ffeec0ffeec0ffeeabcd","digest":null,"images":[],"size":null,"timings":{"cloning":1.5}}', NULL, 1002, 1320, NULL, 0, 0, false, 3);
INSERT INTO public.builds VALUES (4, 'cancelling000000', 'ann', 'CANCELLING', 'BUILDING', NULL, 'cancelled by bob', 'https://git.example.org/cancelling.git', '{"git":{"url":"https://git.example.org/cancelling.git","ref":"main","username":"ann","password":"git-secret"},"images":["registry.example.org/cancelling:1","registry.example.org/cancelling:latest"],"timeout":600.0,"queue_ttl":3600.0,"resources":{"cpus":1.0,"mem":512.0,"disk":100.0},"context":".","dockerfile":"Dockerfile","target":null,"build_args":{"A":"b"},"registry_auth":null,"constraints":[{"attribute":"rack","operator":"LIKE","value":"a|b"}],"priority":1,"labels":{"team":"cancelling"}}', '{"commit":"c0ffeec0ffeec0ffeec0ffeec0ffeec0ffeeabcd","digest":null,"images":[],"size":null,"timings":{"cloning":1.5}}', '{"state":"CANCELLED","reason":"cancelled","message":"cancelled by bob","requested_at":1530.0,"kills":1,"killed_at":1530.0}', 1003, 1530, NULL, 0, 0, false, 3);
INSERT INTO public.builds VALUES (5, 'unreachable00000', 'ann', 'UNREACHABLE', 'BUILDING', NULL, 'agent lost', 'https://git.example.org/unreachable.git', '{"git":{"url":"https://git.example.org/unreachable.git","ref":"main","username":"ann","password":"git-secret"},"images":["registry.example.org/unreachable:1","registry.example.org/unreachable:latest"],"timeout":600.0,"queue_ttl":3600.0,"resources":{"cpus":1.0,"mem":512.0,"disk":100.0},"context":".","dockerfile":"Dockerfile","target":null,"build_args":{"A":"b"},"registry_auth":null,"constraints":[{"attribute":"rack","operator":"LIKE","value":"a|b"}],"priority":1,"labels":{"team":"unreachable"}}', '{"commit":"c0ffeec0ffeec0ffeec0ffeec0ffeec0ffeeabcd","digest":null,"images":[],"size":null,"timings":{"cloning":1.5}}', NULL, 1004, 1540, NULL, 0, 0, false, 3);
INSERT INTO public.builds VALUES (6, 'succeeded0000000', 'ann', 'SUCCEEDED', NULL, NULL, NULL, 'https://git.example.org/succeeded.git', '{"git":{"url":"https://git.example.org/succeeded.git","ref":"main","username":"ann","password":"git-secret"},"images":["registry.example.org/succeeded:1","registry.example.org/succeeded:latest"],"timeout":600.0,"queue_ttl":3600.0,"resources":{"cpus":1.0,"mem":512.0,"disk":100.0},"context":".","dockerfile":"Dockerfile","target":null,"build_args":{"A":"b"},"registry_auth":null,"constraints":[{"attribute":"rack","operator":"LIKE","value":"a|b"}],"priority":1,"labels":{"team":"succeeded"}}', '{"commit":"c0ffeec0ffeec0ffeec0ffeec0ffeec0ffeeabcd","digest":"sha256:1111111111111111111111111111111111111111111111111111111111111111","images":[{"name":"registry.example.org/succeeded:1","digest":"sha256:1111111111111111111111111111111111111111111111111111111111111111"}],"size":12345,"timings":{"cloning":1.5,"building":20.25}}', NULL, 1005, 1750, 1750, 0, 0, true, 5);
INSERT INTO public.builds VALUES (7, 'failed0000000000', 'ann', 'FAILED', 'BUILDING', 'step_failed', 'the step `make` failed', 'https://git.example.org/failed.git', '{"git":{"url":"https://git.example.org/failed.git","ref":"main","username":"ann","password":"git-secret"},"images":["registry.example.org/failed:1","registry.example.org/failed:latest"],"timeout":600.0,"queue_ttl":3600.0,"resources":{"cpus":1.0,"mem":512.0,"disk":100.0},"context":".","dockerfile":"Dockerfile","target":null,"build_args":{"A":"b"},"registry_auth":null,"constraints":[{"attribute":"rack","operator":"LIKE","value":"a|b"}],"priority":1,"labels":{"team":"failed"}}', '{"commit":"c0ffeec0ffeec0ffeec0ffeec0ffeec0ffeeabcd","digest":null,"images":[],"size":null,"timings":{"cloning":1.5}}', NULL, 1006, 1560, 1560, 0, 0, false, 3);
INSERT INTO public.builds VALUES (8, 'cancelled0000000', 'ann', 'CANCELLED', NULL, 'cancelled', 'cancelled by ann', 'https://git.example.org/cancelled.git', '{"git":{"url":"https://git.example.org/cancelled.git","ref":"main","username":"ann","password":"git-secret"},"images":["registry.example.org/cancelled:1","registry.example.org/cancelled:latest"],"timeout":600.0,"queue_ttl":3600.0,"resources":{"cpus":1.0,"mem":512.0,"disk":100.0},"context":".","dockerfile":"Dockerfile","target":null,"build_args":{"A":"b"},"registry_auth":null,"constraints":[{"attribute":"rack","operator":"LIKE","value":"a|b"}],"priority":1,"labels":{"team":"cancelled"}}', '{"commit":null,"digest":null,"images":[],"size":null,"timings":{}}', NULL, 1007, 1170, 1170, 0, 0, true, 1);
INSERT INTO public.builds VALUES (9, 'again00000000000', 'ann', 'RUNNING', 'CLONING', NULL, NULL, 'https://git.example.org/again.git', '{"git":{"url":"https://git.example.org/again.git","ref":"main","username":"ann","password":"git-secret"},"images":["registry.example.org/again:1","registry.example.org/again:latest"],"timeout":600.0,"queue_ttl":3600.0,"resources":{"cpus":1.0,"mem":512.0,"disk":100.0},"context":".","dockerfile":"Dockerfile","target":null,"build_args":{"A":"b"},"registry_auth":null,"constraints":[{"attribute":"rack","operator":"LIKE","value":"a|b"}],"priority":1,"labels":{"team":"again"}}', '{"commit":null,"digest":null,"images":[],"size":null,"timings":{}}', NULL, 1008, 1780, NULL, 1381, 0, false, 4);
INSERT INTO public.idempotency_keys VALUES ('ann', 'key-queued', '0000000000000000000000000000000000000000000000000000000000000000', 'queued0000000000');
INSERT INTO public.idempotency_keys VALUES ('ann', 'key-staging', '0000000000000000000000000000000000000000000000000000000000000001', 'staging000000000');
INSERT INTO public.idempotency_keys VALUES ('ann', 'key-running', '0000000000000000000000000000000000000000000000000000000000000002', 'running000000000');
INSERT INTO public.idempotency_keys VALUES ('ann', 'key-cancelling', '0000000000000000000000000000000000000000000000000000000000000003', 'cancelling000000');
INSERT INTO public.idempotency_keys VALUES ('ann', 'key-unreachable', '0000000000000000000000000000000000000000000000000000000000000004', 'unreachable00000');
INSERT INTO public.idempotency_keys VALUES ('ann', 'key-succeeded', '0000000000000000000000000000000000000000000000000000000000000005', 'succeeded0000000');
INSERT INTO public.idempotency_keys VALUES ('ann', 'key-failed', '0000000000000000000000000000000000000000000000000000000000000006', 'failed0000000000');
INSERT INTO public.idempotency_keys VALUES ('ann', 'key-cancelled', '0000000000000000000000000000000000000000000000000000000000000007', 'cancelled0000000');
INSERT INTO public.idempotency_keys VALUES ('ann', 'key-again', '0000000000000000000000000000000000000000000000000000000000000008', 'again00000000000');
INSERT INTO public.settings VALUES ('framework_id', 'framework-1');
INSERT INTO public.settings VALUES ('ping', '');
SELECT pg_catalog.setval('public.builds_seq_seq', 9, true);
ALTER TABLE ONLY public.alembic_version
    ADD CONSTRAINT alembic_version_pkc PRIMARY KEY (version_num);
ALTER TABLE ONLY public.attempts
    ADD CONSTRAINT pk_attempts PRIMARY KEY (build_id, number);
ALTER TABLE ONLY public.build_images
    ADD CONSTRAINT pk_build_images PRIMARY KEY (build_id, image);
ALTER TABLE ONLY public.build_labels
    ADD CONSTRAINT pk_build_labels PRIMARY KEY (build_id, key);
ALTER TABLE ONLY public.builds
    ADD CONSTRAINT pk_builds PRIMARY KEY (seq);
ALTER TABLE ONLY public.idempotency_keys
    ADD CONSTRAINT pk_idempotency_keys PRIMARY KEY (owner, key);
ALTER TABLE ONLY public.settings
    ADD CONSTRAINT pk_settings PRIMARY KEY (name);
ALTER TABLE ONLY public.attempts
    ADD CONSTRAINT uq_attempts_task_id UNIQUE (task_id);
ALTER TABLE ONLY public.builds
    ADD CONSTRAINT uq_builds_id UNIQUE (id);
CREATE INDEX ix_build_images_image ON public.build_images USING btree (image);
CREATE INDEX ix_build_labels_key ON public.build_labels USING btree (key);
CREATE INDEX ix_builds_git_url_seq ON public.builds USING btree (git_url, seq);
CREATE INDEX ix_builds_log_complete ON public.builds USING btree (log_complete);
CREATE INDEX ix_builds_owner_seq ON public.builds USING btree (owner, seq);
CREATE INDEX ix_builds_state_seq ON public.builds USING btree (state, seq);
ALTER TABLE ONLY public.attempts
    ADD CONSTRAINT fk_attempts_build_id_builds FOREIGN KEY (build_id) REFERENCES public.builds(id);
ALTER TABLE ONLY public.build_images
    ADD CONSTRAINT fk_build_images_build_id_builds FOREIGN KEY (build_id) REFERENCES public.builds(id);
ALTER TABLE ONLY public.build_labels
    ADD CONSTRAINT fk_build_labels_build_id_builds FOREIGN KEY (build_id) REFERENCES public.builds(id);
ALTER TABLE ONLY public.idempotency_keys
    ADD CONSTRAINT fk_idempotency_keys_build_id_builds FOREIGN KEY (build_id) REFERENCES public.builds(id);
