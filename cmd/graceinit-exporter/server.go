package main

import (
	"io"
	"log"
	"net/http"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// maxScrapes is how many scrapes may be answered at once. Two Prometheus servers and a person are three.
const maxScrapes = 8

const index = `<!doctype html>
<title>graceinit-exporter</title>
<h1>graceinit-exporter</h1>
<p><a href="/metrics">/metrics</a> of the init, <a href="/healthz">/healthz</a> of this exporter.
`

// newServer is everything that is served, with bounds on how long a client may take for anything.
func newServer(ask *asker, s settings, logger *log.Logger) *http.Server {
	registry := prometheus.NewRegistry()
	registry.MustRegister(collector{ask})
	if s.runtimeMetrics {
		registry.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	}
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", promhttp.HandlerFor(registry, promhttp.HandlerOpts{
		ErrorLog:            logger,
		MaxRequestsInFlight: maxScrapes,
		EnableOpenMetrics:   true,
		// Three kilobytes: a gzip.Writer takes 800 for itself, in every scrape.
		DisableCompression: true,
	}))
	// For a liveness probe: nothing is asked of the init, since a restart of the exporter would not bring back an app that
	// has gone.
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
		_, _ = io.WriteString(w, "ok\n")
	})
	mux.HandleFunc("GET /{$}", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		_, _ = io.WriteString(w, index)
	})
	return &http.Server{
		Handler:           mux,
		ErrorLog:          logger,
		ReadHeaderTimeout: 5 * time.Second,
		ReadTimeout:       5 * time.Second,
		WriteTimeout:      s.timeout + 5*time.Second,
		IdleTimeout:       2 * time.Minute, // longer than the usual scrape intervals, which keeps Prometheus' connection
		MaxHeaderBytes:    16 << 10,
	}
}
