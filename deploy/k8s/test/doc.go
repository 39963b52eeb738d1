// Package test checks the manifests of deploy/k8s; its lab runs them.
package test
