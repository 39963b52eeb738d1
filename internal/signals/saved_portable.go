//go:build !inherited_signals

package signals

func runtimeSaved() (Inherited, bool) { return Inherited{}, false }
