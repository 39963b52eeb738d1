package commands

import "testing"

func TestSimilar(t *testing.T) {
	var names []string
	for _, c := range Table {
		names = append(names, c.Name)
	}
	for word, want := range map[string]string{
		"upgrde": "upgrade", "pugrade": "upgrade", "Upgrade": "upgrade", "statsu": "status", "rolback": "rollback", "delivr": "deliver",
		"kil": "kill", "k": "", "": "", "app": "", "nginx": "", "sleep": "", "sh": "", "notifyer": "notify",
	} {
		if got := Similar(word, names); got != want {
			t.Errorf("%q: %q, want %q", word, got, want)
		}
	}
}
