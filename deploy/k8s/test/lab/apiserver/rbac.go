package apiserver

import (
	"fmt"
	"net/http"
	"slices"
	"strings"

	authorizationv1 "k8s.io/api/authorization/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
)

// user is who asks.
type user struct {
	name   string
	groups []string
	admin  bool
}

func serviceAccount(namespace, name string) *user {
	return &user{
		name: "system:serviceaccount:" + namespace + ":" + name,
		groups: []string{
			"system:serviceaccounts", "system:serviceaccounts:" + namespace, "system:authenticated",
		},
	}
}

func impersonated(name string, groups []string) *user {
	if rest, ok := strings.CutPrefix(name, "system:serviceaccount:"); ok {
		if namespace, account, ok := strings.Cut(rest, ":"); ok {
			return serviceAccount(namespace, account)
		}
	}
	return &user{name: name, groups: append(groups, "system:authenticated")}
}

func forbidden(u *user, verb string, r resource, sub, namespace, name string) error {
	gr := r.gr()
	if sub != "" {
		gr.Resource += "/" + sub
	}
	where := "at the cluster scope"
	if namespace != "" {
		where = fmt.Sprintf("in the namespace %q", namespace)
	}
	//nolint:staticcheck // the words are the API server's
	return apierrors.NewForbidden(gr, name, fmt.Errorf("User %q cannot %s resource %q in API group %q %s",
		u.name, verb, gr.Resource, gr.Group, where))
}

// allowed evaluates the roles and bindings in the store.
func (s *Server) allowed(u *user, verb string, r resource, sub, namespace, name string) bool {
	if u.admin || r.plural == "selfsubjectaccessreviews" {
		return true
	}
	plural := r.plural
	if sub != "" {
		plural += "/" + sub
	}
	if verb == "create" || verb == "deletecollection" {
		if sub == "" {
			name = "" // a rule with resourceNames cannot allow these
		}
	}
	grants := func(rules []rbacv1.PolicyRule) bool {
		return slices.ContainsFunc(rules, func(rule rbacv1.PolicyRule) bool {
			return has(rule.Verbs, verb) && has(rule.APIGroups, r.group) &&
				(has(rule.Resources, plural) || sub != "" && slices.Contains(rule.Resources, "*/"+sub)) &&
				(len(rule.ResourceNames) == 0 || slices.Contains(rule.ResourceNames, name))
		})
	}
	ruled := func(ref rbacv1.RoleRef, namespace string) bool {
		if ref.Kind == "ClusterRole" {
			role, err := Get[*rbacv1.ClusterRole](s.Store, "", ref.Name)
			return err == nil && grants(role.Rules)
		}
		role, err := Get[*rbacv1.Role](s.Store, namespace, ref.Name)
		return err == nil && grants(role.Rules)
	}
	for _, b := range List[*rbacv1.ClusterRoleBinding](s.Store, "") {
		if u.among(b.Subjects, "") && ruled(b.RoleRef, "") {
			return true
		}
	}
	if namespace == "" {
		return false
	}
	for _, b := range List[*rbacv1.RoleBinding](s.Store, namespace) {
		if u.among(b.Subjects, namespace) && ruled(b.RoleRef, namespace) {
			return true
		}
	}
	return false
}

func has(list []string, s string) bool { return slices.Contains(list, s) || slices.Contains(list, "*") }

func (u *user) among(subjects []rbacv1.Subject, namespace string) bool {
	return slices.ContainsFunc(subjects, func(s rbacv1.Subject) bool {
		switch s.Kind {
		case "ServiceAccount":
			if s.Namespace != "" {
				namespace = s.Namespace
			}
			return u.name == "system:serviceaccount:"+namespace+":"+s.Name
		case "Group":
			return slices.Contains(u.groups, s.Name)
		}
		return u.name == s.Name
	})
}

// review answers `kubectl auth can-i`.
func (s *Server) review(w http.ResponseWriter, q *request) error {
	o, err := read(q)
	if err != nil {
		return err
	}
	var a *authorizationv1.ResourceAttributes
	status := &authorizationv1.SubjectAccessReviewStatus{}
	u := q.user
	switch o := o.(type) {
	case *authorizationv1.SelfSubjectAccessReview:
		a = o.Spec.ResourceAttributes
		defer func() { o.Status = *status; respond(w, http.StatusCreated, o) }()
	case *authorizationv1.SubjectAccessReview:
		a, u = o.Spec.ResourceAttributes, impersonated(o.Spec.User, o.Spec.Groups)
		defer func() { o.Status = *status; respond(w, http.StatusCreated, o) }()
	}
	if a == nil {
		status.Allowed = u.admin
		return nil
	}
	r := resource{group: a.Group, plural: a.Resource}
	status.Allowed = s.allowed(u, a.Verb, r, a.Subresource, a.Namespace, a.Name)
	return nil
}
