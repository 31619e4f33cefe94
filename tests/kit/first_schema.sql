insert into users values
    ('user-1', 'ann@example.com', 'ann', true, false, '{admin,audit}', '2026-11-24 10:00Z'),
    ('user-2', 'bot@example.com', 'bot', false, true, '{}', '2026-11-24 10:01Z');
insert into tokens values
    ('at-1', 'user', 'user-1', 'laptop', '\x01', 'user-1', '2026-11-24 10:00Z', '2026-11-24 11:00Z', null, 3, null),
    ('at-2', 'join', 'apool-1', 'vm', '\x02', 'user-1', '2026-11-24 10:00Z', null, '2026-12-24 10:00Z', 1, 5);
insert into secrets values ('ca', '\x00ff');
insert into outbox (kind, payload, at) values ('run.created', '{"run": "run-1"}', '2026-11-24 10:00Z');
insert into audit_entries (at, actor_kind, actor_id, actor_name, request_id, action, subject, detail)
    values ('2026-11-24 10:00Z', 'user', 'user-1', 'ann', 're-1', 'run.created', 'run-1', '{"a": [1]}');
insert into agent_pools values ('apool-1', 'first', 'sa', '2026-11-24 10:00Z');
update organizations set default_agent_pool_id = 'apool-1';
insert into workspaces values
    ('ws-1', 'app', 'the app', 'user-1', '2026-11-24 10:00Z', '2026-11-24 10:02Z', 'agent', 'apool-1', 'tofu', '1.9.0',
     'infra', true, true, false, true, true, true, 'tfe-api', 'x', 'https://x', '{modules}', '{}', '{"team": "a"}',
     '{"prod": "", "size": "s"}', '1', '2Gi', 'https://git', 'main', true, 86400, 'user-1', 'looking', '2026-11-24 10:03Z',
     'run-1', 'run-1', 'run-1', 'lost', '2026-11-24 10:04Z', null, 'sv-1', 'cv-1', 2, 1),
    ('ws-2', 'bare', '', 'user-2', '2026-11-24 10:00Z', '2026-11-24 10:00Z', 'remote', null, 'terraform', 'latest',
     '', false, true, false, true, true, false, 'tfe-api', '', '', '{}', '{}', '{}',
     '{}', '', '', '', '', false, 86400, null, '', null,
     null, null, null, '', null, null, null, null, 0, 0);
insert into variables values
    ('var-1', 'ws-1', 'region', '\x0102', 'terraform', false, true, 'where', 'v1', '2026-11-24 10:00Z');
insert into state_versions (id, workspace_id, run_id, created_by, created_at, status, intermediate, serial, lineage,
        md5, size, force, terraform_version, resources, resource_count, finalized_at) values
    ('sv-1', 'ws-1', 'run-1', null, '2026-11-24 10:00Z', 'finalized', false, 3, 'l', 'm', 9, false, '1.9.0',
     '[{"name": "a"}]', 1, '2026-11-24 10:01Z'),
    ('sv-2', 'ws-1', null, 'user-1', '2026-11-24 10:00Z', 'pending', false, 4, 'l', 'm', 0, true, '', '[]', 0, null);
insert into state_outputs values ('wsout-1', 'sv-1', 'ip', true, 'string', '"string"', '\x01');
insert into configuration_versions values
    ('cv-1', 'ws-1', 'user-1', '2026-11-24 10:00Z', 'uploaded', '', 'tfe-api', false, false, true,
     '{"uploaded": "2026-11-24T10:00:00Z"}', 512, 'd1');
insert into tools values ('terraform', '1.9.0', 'linux', 'amd64', 'd2', 88, '2026-11-24 10:00Z');
insert into runs (id, workspace_id, configuration_version_id, pool_id, plan_id, apply_id, status, status_timestamps,
        is_current, message, source, trigger_reason, terraform_version, tool, workspace_name, working_directory,
        is_destroy, auto_apply, plan_only, save_plan, refresh, refresh_only, allow_empty_apply,
        allow_config_generation, target_addrs, replace_addrs, variables, has_changes, created_by, confirmed_by,
        created_at, changed_at, canceled_at, force_cancel_available_at, state_version_id, reason) values
    ('run-1', 'ws-1', 'cv-1', 'apool-1', 'plan-1', 'apply-1', 'applying', '{"planned": "2026-11-24T10:00:00Z"}',
     true, 'go', 'tfe-api', 'manual', '1.9.0', 'tofu', 'app', 'infra', false, true, false, false, true, false, false,
     false, '{a.b}', '{}', '\x03', true, 'user-1', 'user-1', '2026-11-24 10:00Z', '2026-11-24 10:05Z', null, null,
     'sv-1', ''),
    ('run-2', 'ws-1', null, null, 'plan-2', 'apply-2', 'canceled', '{}',
     false, '', 'tfe-api', 'manual', '1.9.0', 'terraform', 'app', '', true, false, true, false, false, false, false,
     false, '{}', '{}', null, null, null, null, '2026-11-24 10:00Z', '2026-11-24 10:05Z', '2026-11-24 10:05Z',
     '2026-11-24 10:06Z', null, 'why');
insert into phases values
    ('plan-1', 'run-1', 'ws-1', 'plan', 'apool-1', 'finished', '{"started": "2026-11-24T10:00:00Z"}',
     '2026-11-24 10:00Z', '2026-11-24 10:00Z', 'listener-1', 0, 'k', 2, 1, null, '2026-11-24 10:01Z', true, null, null,
     true, 1, 2, 3, 0, '{"plan": {"digest": "d", "size": 3, "key": "k"}}', '\x04', 120, 0, true, '[[0, 1, 2]]',
     '2026-11-24 10:02Z'),
    ('apply-1', 'run-1', 'ws-1', 'apply', 'apool-1', 'running', '{}',
     '2026-11-24 10:03Z', '2026-11-24 10:03Z', 'listener-1', 1, null, 7, 2, '2026-11-24 10:09Z', '2026-11-24 10:04Z',
     true, 'cancel', '2026-11-24 10:05Z', null, null, null, null, null, '{}', null, 4, 0, false, null, null);
insert into log_chunks values ('apply-1', 0, '\x05', 4);
insert into listeners values
    ('listener-1', 'apool-1', 'vm-1', 'PEM', '0.1.0', 'linux/amd64', 2, false, '2026-11-24 10:00Z', '2026-11-24 10:05Z', null);
insert into certificates values ('ab', 'listener-1', '2026-11-25 10:00Z', null);
