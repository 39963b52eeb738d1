package apiserver

import (
	"net/http"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/version"
)

// discover answers what kubectl asks before it asks for anything.
func discover(w http.ResponseWriter, r *http.Request) bool {
	switch path := strings.TrimSuffix(r.URL.Path, "/"); path {
	case "/healthz", "/readyz", "/livez":
		_, _ = w.Write([]byte("ok"))
	case "/version":
		respond(w, http.StatusOK, version.Info{Major: "1", Minor: "32", GitVersion: "v1.32.0-lab", Platform: "linux/amd64"})
	case "/api":
		respond(w, http.StatusOK, metav1.APIVersions{
			TypeMeta: metav1.TypeMeta{Kind: "APIVersions", APIVersion: "v1"}, Versions: []string{"v1"},
			ServerAddressByClientCIDRs: []metav1.ServerAddressByClientCIDR{{ClientCIDR: "0.0.0.0/0", ServerAddress: r.Host}},
		})
	case "/apis":
		list := metav1.APIGroupList{TypeMeta: metav1.TypeMeta{Kind: "APIGroupList", APIVersion: "v1"}}
		seen := map[string]bool{"": true}
		for _, x := range resources {
			if seen[x.group] {
				continue
			}
			seen[x.group] = true
			gv := metav1.GroupVersionForDiscovery{GroupVersion: x.gv().String(), Version: x.version}
			list.Groups = append(list.Groups, metav1.APIGroup{
				Name: x.group, Versions: []metav1.GroupVersionForDiscovery{gv}, PreferredVersion: gv,
			})
		}
		respond(w, http.StatusOK, list)
	case "/openapi/v2":
		// A document without definitions, which is an empty protobuf message: kubectl then validates nothing by itself,
		// and the strict decoding is the server's.
		w.Header().Set("Content-Type", "application/com.github.proto-openapi.spec.v2.v1.0+protobuf")
		w.WriteHeader(http.StatusOK)
	default:
		gv := strings.TrimPrefix(strings.TrimPrefix(path, "/apis/"), "/api/")
		list := metav1.APIResourceList{TypeMeta: metav1.TypeMeta{Kind: "APIResourceList", APIVersion: "v1"}, GroupVersion: gv}
		for _, x := range resources {
			if x.gv().String() != gv {
				continue
			}
			a := metav1.APIResource{
				Name: x.plural, SingularName: strings.ToLower(x.kind), Namespaced: !x.cluster, Kind: x.kind, ShortNames: x.short,
				Verbs: metav1.Verbs{"create", "delete", "deletecollection", "get", "list", "patch", "update", "watch"},
			}
			if x.all {
				a.Categories = []string{"all"}
			}
			if strings.HasSuffix(x.plural, "reviews") {
				a.Verbs = metav1.Verbs{"create"}
			}
			list.APIResources = append(list.APIResources, a)
			for _, sub := range x.subresources {
				b := metav1.APIResource{Name: x.plural + "/" + sub, Namespaced: true, Kind: x.kind, Verbs: metav1.Verbs{"get", "create"}}
				switch sub {
				case "scale":
					b.Group, b.Version, b.Kind = "autoscaling", "v1", "Scale"
					b.Verbs = metav1.Verbs{"get", "patch", "update"}
				case "status":
					b.Verbs = metav1.Verbs{"get", "patch", "update"}
				case "exec":
					b.Kind = "PodExecOptions"
				case "portforward":
					b.Kind = "PodPortForwardOptions"
				case "token":
					b.Group, b.Version, b.Kind = "authentication.k8s.io", "v1", "TokenRequest"
				}
				list.APIResources = append(list.APIResources, b)
			}
		}
		if len(list.APIResources) == 0 {
			return false
		}
		respond(w, http.StatusOK, list)
	}
	return true
}
