"""JSON:API shapes of workspaces."""

from collections.abc import Collection, Mapping
from datetime import datetime
from typing import Annotated, Any, ClassVar

from msgspec import UNSET, Struct, UnsetType, field, structs

from terrapod_control_plane.kernel.jsonapi import ANY, Payload, Resource
from terrapod_control_plane.kernel.relations import many, one
from terrapod_control_plane.workspaces.model import (
    LATEST,
    ExecutionMode,
    Permissions,
    Setup,
    SetupChange,
    Tag,
    ToolName,
)


class HoldDoc(Struct, kw_only=True):
    """Why nothing may be applied."""

    run: str
    reason: str
    since: datetime


class WorkspaceDoc(Resource, tag="workspaces", kw_only=True):
    """A workspace, as the caller may see it."""

    name: str
    description: str
    execution_mode: str
    operations: bool
    tool: str
    terraform_version: str
    working_directory: str
    vcs_working_directory: str = ""
    auto_apply: bool
    allow_destroy_plan: bool
    queue_all_runs: bool
    speculative_enabled: bool
    file_triggers_enabled: bool
    global_remote_state: bool
    project_remote_state: bool
    structured_run_output_enabled: bool = False
    source: str
    source_name: str
    source_url: str
    trigger_prefixes: list[str]
    trigger_patterns: list[str]
    labels: dict[str, str]
    tag_names: list[str]
    resource_cpu: str
    resource_memory: str
    vcs_repo: dict[str, Any] | None = None
    vcs_repo_url: str
    vcs_branch: str
    drift_detection_enabled: bool
    drift_detection_interval_seconds: int
    drift_last_checked_at: datetime | None = None
    drift_status: str = ""
    locked: bool
    lock_reason: str
    locked_at: datetime | None
    hold: HoldDoc | None
    resource_count: int
    workspace_kpis_runs_count: int = 0
    created_at: datetime
    updated_at: datetime
    actions: dict[str, bool] = field(default_factory=lambda: {"is-destroyable": True})
    permissions: Permissions | None = None
    setting_overwrites: dict[str, bool] = field(
        default_factory=lambda: {"execution-mode": True, "agent-pool": False}
    )
    organization: Annotated[str, one("organizations")] = "default"
    owner: Annotated[str, one("users")] = ""
    agent_pool: Annotated[str | None, one("agent-pools")] = None
    locked_by: Annotated[str | None, one()] = None
    current_run: Annotated[str | None, one("runs")] = None
    current_state_version: Annotated[str | None, one("state-versions")] = None
    current_configuration_version: Annotated[str | None, one("configuration-versions")] = None

    def links(self) -> dict[str, str | None]:
        """Where it is found by name, and its page."""
        return {
            "self": f"/api/v2/organizations/default/workspaces/{self.name}",
            "self-html": f"/app/default/workspaces/{self.name}",
        }


class NewTag(Struct):
    """A tag inside of a new workspace."""

    name: str


class NewBinding(Struct):
    """A tag with a value inside of a new workspace."""

    key: str
    value: str | None = None


class WorkspaceSettings(Payload, tag="workspaces", kw_only=True):
    """What may be set on a workspace; what is left out stays."""

    echoes: ClassVar[type[Resource] | None] = WorkspaceDoc
    idle: ClassVar[Mapping[str, Collection[Any]]] = {
        "environment": ("default",),
        "inherits-project-auto-destroy": ANY,  # there are no projects
        "source": ANY,  # is told by the server
        "vcs-repo": (),  # shown as none
    }
    name: str | UnsetType = UNSET
    description: str | UnsetType | None = UNSET
    execution_mode: ExecutionMode | UnsetType = UNSET
    operations: bool | UnsetType = UNSET
    agent_pool_id: str | UnsetType | None = UNSET
    tool: ToolName | UnsetType = UNSET
    terraform_version: str | UnsetType | None = UNSET
    working_directory: str | UnsetType | None = UNSET
    vcs_working_directory: str | UnsetType | None = UNSET
    auto_apply: bool | UnsetType = UNSET
    allow_destroy_plan: bool | UnsetType = UNSET
    queue_all_runs: bool | UnsetType = UNSET
    speculative_enabled: bool | UnsetType = UNSET
    file_triggers_enabled: bool | UnsetType = UNSET
    global_remote_state: bool | UnsetType = UNSET
    project_remote_state: bool | UnsetType = UNSET
    source_name: str | UnsetType | None = UNSET
    source_url: str | UnsetType | None = UNSET
    trigger_prefixes: list[str] | UnsetType | None = UNSET
    trigger_patterns: list[str] | UnsetType | None = UNSET
    labels: dict[str, str] | UnsetType = UNSET
    resource_cpu: str | UnsetType | None = UNSET
    resource_memory: str | UnsetType | None = UNSET
    vcs_repo_url: str | UnsetType | None = UNSET
    vcs_branch: str | UnsetType | None = UNSET
    drift_detection_enabled: bool | UnsetType = UNSET
    drift_detection_interval_seconds: int | UnsetType = UNSET
    tags: Annotated[list[NewTag] | UnsetType, many("tags", into=NewTag)] = UNSET
    tag_bindings: Annotated[list[NewBinding] | UnsetType, many("tag-bindings", into=NewBinding)] = (
        UNSET
    )

    @property
    def new_tags(self) -> list[Tag]:
        """The tags of both kinds."""
        plain = [] if self.tags is UNSET else [Tag(tag.name) for tag in self.tags]
        bound = [] if self.tag_bindings is UNSET else self.tag_bindings
        return plain + [Tag(tag.key, tag.value or "") for tag in bound]

    @property
    def only_version(self) -> bool:
        """Whether nothing but the version is to change."""
        return set(self.given()) - {"id"} == {"terraform_version"}

    def applied(self, old: Setup) -> Setup:
        """A setup with what was asked for; null means what it is by itself."""
        given: dict[str, Any] = self.given()
        if self.operations is not UNSET and self.execution_mode is UNSET:
            given["execution_mode"] = "remote" if self.operations else "local"
        if self.working_directory is UNSET and self.vcs_working_directory is not UNSET:
            given["working_directory"] = self.vcs_working_directory
        if not given.get("terraform_version", LATEST):
            given["terraform_version"] = LATEST
        fresh = Setup(name=old.name)
        return structs.replace(
            old,
            **{
                name: getattr(fresh, name) if given[name] is None else given[name]
                for name in Setup.__struct_fields__
                if name in given and name != "tag_bindings"
            },
        )

    @property
    def change(self) -> SetupChange:
        """What the use cases take."""
        return SetupChange(
            apply=self.applied, new_tags=self.new_tags, only_version=self.only_version
        )


# Frozen, so that one can stand for an empty body.
class Reason(Payload, frozen=True, kw_only=True):  # type: ignore[misc]
    """Why a workspace is locked; sent with an empty type, as plain JSON or not at all."""

    bare: ClassVar[bool] = True
    reason: str | None = None


class TagDoc(Resource, tag="tags", kw_only=True):
    """A tag of a workspace."""

    name: str


class BindingDoc(Resource, tag="tag-bindings", kw_only=True):
    """A tag of a workspace with its value."""

    key: str
    value: str


class EffectiveBindingDoc(Resource, tag="effective-tag-bindings", kw_only=True):
    """A tag of a workspace with its value, wherever it was set."""

    key: str
    value: str


class TagIn(Payload, tag="tags", kw_only=True):
    """A tag by its name, which also is its id."""

    id: str = ""
    name: str = ""

    @property
    def key(self) -> str:
        """The name."""
        return self.name or self.id


class ConsumerIn(Payload, tag="workspaces", kw_only=True):
    """A workspace that may read the state of another, by its id."""

    id: str = ""


class BindingIn(Payload, tag="tag-bindings", kw_only=True):
    """A tag and its value."""

    key: str
    value: str | None = None
