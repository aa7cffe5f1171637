"""Who may refer to whom: an object of another namespace has to consent."""

from collections.abc import Mapping

from ambit.api.common import AllowedNamespaces, LabelOperator, LabelRequirement, LabelSelector, NamespacesFrom

Labels = Mapping[str, str]


def allows(allowed: AllowedNamespaces, own_namespace: str, namespace: str, labels_of: Mapping[str, Labels]) -> bool:
    """Whether an object in `own_namespace` with this consent may be referred to from `namespace`.

    Its own namespace is always allowed. A namespace whose labels are not known matches no selector.
    """
    if namespace == own_namespace or allowed.from_ is NamespacesFrom.ALL:
        return True
    if allowed.from_ is NamespacesFrom.SAME or allowed.selector is None:
        return False
    labels = labels_of.get(namespace)
    return labels is not None and selects(allowed.selector, labels)


def selects(selector: LabelSelector, labels: Labels) -> bool:
    """Kubernetes' label selectors: every part must hold, and an empty selector selects everything."""
    exact = all(labels.get(key) == value for key, value in (selector.match_labels or {}).items())
    return exact and all(_holds(requirement, labels) for requirement in selector.match_expressions)


def _holds(requirement: LabelRequirement, labels: Labels) -> bool:
    value = labels.get(requirement.key)
    match requirement.operator:
        case LabelOperator.IN:
            return value in requirement.values
        case LabelOperator.NOT_IN:  # holds, as in Kubernetes, where the label is not there at all
            return value not in requirement.values
        case LabelOperator.EXISTS:
            return value is not None
        case LabelOperator.DOES_NOT_EXIST:
            return value is None
