// Package test checks the manifests of deploy: each file, and what kubectl makes of each kustomization, is decoded
// strictly (decode.go) and held against the project's rules (rules.go). Its lab runs them.
package test
