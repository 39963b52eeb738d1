package lab

import (
	"strings"
	"testing"
)

// applyText applies a manifest.
func applyText(t *testing.T, text string) string {
	t.Helper()
	cmd := kubectlCommand(t.Context(), "apply", "-f", "-")
	cmd.Stdin = strings.NewReader(text)
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("kubectl apply: %v\n%s", err, out)
	}
	return strings.TrimSpace(string(out))
}
