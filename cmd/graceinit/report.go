package main

import (
	"io"
	"os"

	"github.com/sirupsen/logrus"
	"golang.org/x/sys/unix"

	"github.com/graceinit/graceinit/internal/config"
)

// newLogger logs as the settings say. On a terminal an init is silent unless something is wrong.
func newLogger(s *config.Settings, w io.Writer) *logrus.Logger {
	log := logrus.New()
	log.SetOutput(w)
	if s.LogFormat == config.FormatJSON {
		log.SetFormatter(&logrus.JSONFormatter{})
	} else {
		log.SetFormatter(&logrus.TextFormatter{DisableColors: true, FullTimestamp: true})
	}
	level := logrus.InfoLevel
	if _, err := unix.IoctlGetTermios(2, unix.TCGETS); err == nil {
		level = logrus.ErrorLevel
	}
	if s.LogLevel != "" {
		level, _ = logrus.ParseLevel(string(s.LogLevel)) // validated by its type
	}
	for range s.Verbose {
		level = min(max(level, logrus.WarnLevel)+1, logrus.DebugLevel)
	}
	if s.WarnOnReap {
		level = max(level, logrus.WarnLevel)
	}
	log.SetLevel(level)
	return log
}

// leaveTerminationMessage writes the cause of death where Kubernetes looks for it
// (terminationMessagePath). The file exists there; we do not create it, nor overwrite what the app wrote.
func leaveTerminationMessage(path, cause string, log *logrus.Logger) {
	st, err := os.Stat(path)
	if path == "" || err != nil || !st.Mode().IsRegular() || st.Size() > 0 {
		return
	}
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err == nil {
		_, err = f.WriteString(cause + "\n")
		_ = f.Close()
	}
	if err != nil {
		log.Debugf("cannot write the termination message: %v", err)
	}
}

const license = `graceinit, an init for containers.
Licensed under the Apache License, Version 2.0: https://www.apache.org/licenses/LICENSE-2.0
It contains sirupsen/logrus (MIT), kelseyhightower/envconfig (MIT) and golang.org/x/sys (BSD-3-Clause).
`
