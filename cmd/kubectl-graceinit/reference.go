package main

import (
	"errors"
	"fmt"
	"regexp"
)

// image is the grammar of an image's reference, as registries and runtimes have it (github.com/distribution/reference).
// A template that names anything else would only fail later, in every new pod.
var image = regexp.MustCompile(`^(?:` + host + `(?::[0-9]+)?/)?` + path + `(?:/` + path + `)*(?::` + tag + `)?(?:@` + sum + `)?\z`)

const (
	label = `[a-zA-Z0-9](?:[a-zA-Z0-9-]*[a-zA-Z0-9])?`
	host  = `(?:` + label + `(?:\.` + label + `)*|\[[a-fA-F0-9:]+\])`
	path  = `[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*`
	tag   = `[\w][\w.-]{0,127}`
	sum   = `[A-Za-z][A-Za-z0-9]*(?:[+._-][A-Za-z][A-Za-z0-9]*)*:[0-9a-fA-F]{32,}`
)

var errImage = errors.New("is not the name of an image: [HOST[:PORT]/]NAME[:TAG][@DIGEST], the name in small letters")

func checkImage(name string) error {
	if !image.MatchString(name) {
		return fmt.Errorf("--image %q %w", name, errImage)
	}
	return nil
}
