package tests

import (
	"errors"
	"io"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"gopkg.in/yaml.v3"

	"hapressure/policy/language"
)

// manifest is what ours have of Kubernetes' objects: another field is a mistake, and so
// is one in the wrong place.
type manifest struct {
	APIVersion string `yaml:"apiVersion"`
	Kind       string
	Metadata   metadata
	Data       map[string]string
	Spec       struct {
		Selector struct {
			MatchLabels map[string]string `yaml:"matchLabels"`
		}
		Template struct {
			Metadata metadata
			Spec     podSpec
		}
		podSpec `yaml:",inline"`
	}
}

type metadata struct {
	Name, Namespace string
	Labels          map[string]string
}

type podSpec struct {
	HostPID                      bool   `yaml:"hostPID"`
	ShareProcessNamespace        bool   `yaml:"shareProcessNamespace"`
	PriorityClassName            string `yaml:"priorityClassName"`
	AutomountServiceAccountToken *bool  `yaml:"automountServiceAccountToken"`
	EnableServiceLinks           *bool  `yaml:"enableServiceLinks"`
	Tolerations                  []struct{ Operator string }
	Containers                   []container
	Volumes                      []volume
}

type volume struct {
	Name      string
	HostPath  *struct{ Path, Type string } `yaml:"hostPath"`
	ConfigMap *struct{ Name string }       `yaml:"configMap"`
	EmptyDir  *struct {
		Medium    string
		SizeLimit string `yaml:"sizeLimit"`
	} `yaml:"emptyDir"`
}

type mount struct {
	Name      string
	MountPath string `yaml:"mountPath"`
	ReadOnly  bool   `yaml:"readOnly"`
}

type container struct {
	Name, Image     string
	Args            []string
	SecurityContext struct {
		RunAsUser                *int                  `yaml:"runAsUser"`
		AllowPrivilegeEscalation *bool                 `yaml:"allowPrivilegeEscalation"`
		ReadOnlyRootFilesystem   bool                  `yaml:"readOnlyRootFilesystem"`
		SeccompProfile           struct{ Type string } `yaml:"seccompProfile"`
		AppArmorProfile          struct{ Type string } `yaml:"appArmorProfile"`
		SELinuxOptions           struct{ Type string } `yaml:"seLinuxOptions"`
		Capabilities             struct{ Add, Drop []string }
	} `yaml:"securityContext"`
	Resources     struct{ Requests, Limits map[string]string }
	StartupProbe  probe   `yaml:"startupProbe"`
	LivenessProbe probe   `yaml:"livenessProbe"`
	VolumeMounts  []mount `yaml:"volumeMounts"`
}

type probe struct {
	Exec           struct{ Command []string }
	TimeoutSeconds int `yaml:"timeoutSeconds"`
	PeriodSeconds  int `yaml:"periodSeconds"`
}

// The manifests have no field that Kubernetes would not know where it is, and give what
// the service has: the same capabilities and memory, a policy without mistakes, and the
// mounts it looks at.
func TestKubernetesManifests(t *testing.T) {
	unit := read(t, "../packaging/hapressure.service")
	image := read(t, "../packaging/container/Containerfile")
	for _, setting := range strings.Fields(match(t, unit, `(?m)^Environment=(.*)$`)) {
		if !strings.Contains(image, " "+setting) {
			t.Errorf("the Containerfile has no %s", setting)
		}
	}
	capabilities := strings.Fields(strings.ReplaceAll(match(t, unit,
		`(?m)^CapabilityBoundingSet=(.*)$`), "CAP_", ""))
	for _, name := range []string{"daemonset", "sidecar"} {
		t.Run(name, func(t *testing.T) {
			dec := yaml.NewDecoder(strings.NewReader(read(t,
				"../packaging/kubernetes/"+name+".yaml")))
			dec.KnownFields(true)
			var pod podSpec
			for {
				var m manifest
				if err := dec.Decode(&m); errors.Is(err, io.EOF) {
					break
				} else if err != nil {
					t.Fatal(err)
				}
				switch m.Kind {
				case "ConfigMap":
					if text, ok := m.Data["policy.yaml"]; ok {
						if _, err := language.Decode(language.File{Name: name,
							Text: []byte(text)}); err != nil {
							t.Error(err)
						}
					}
				case "DaemonSet":
					pod = m.Spec.Template.Spec
				case "Pod":
					pod = m.Spec.podSpec
				}
			}
			if pod.HostPID == pod.ShareProcessNamespace {
				t.Error("want the host's processes or the pod's")
			}
			c := pod.Containers[slices.IndexFunc(pod.Containers,
				func(c container) bool { return c.Name == "hapressure" })]
			if add := c.SecurityContext.Capabilities.Add; !slices.Equal(add, capabilities) {
				t.Errorf("capabilities %q, the service has %q", add, capabilities)
			}
			if want := match(t, unit, `(?m)^MemoryMax=(.*)$`) +
				"i"; c.Resources.Limits["memory"] != want {
				t.Errorf("memory is limited to %s, that of the service to %s",
					c.Resources.Limits["memory"], want)
			}
			for _, path := range []string{"/sys/fs/cgroup", "/etc/hapressure", "/run/hapressure"} {
				if !slices.ContainsFunc(c.VolumeMounts, func(m mount) bool {
					return m.MountPath == path && m.ReadOnly == (path == "/etc/hapressure")
				}) {
					t.Errorf("%s is not mounted as it should be", path)
				}
			}
			for _, m := range c.VolumeMounts {
				if !slices.ContainsFunc(pod.Volumes,
					func(v volume) bool { return v.Name == m.Name }) {
					t.Errorf("there is no volume %s", m.Name)
				}
			}
		})
	}
}

func match(t *testing.T, text, pattern string) string {
	t.Helper()
	m := regexp.MustCompile(pattern).FindStringSubmatch(text)
	if m == nil {
		t.Fatalf("nothing matches %s", pattern)
	}
	return m[1]
}

func read(t *testing.T, name string) string {
	t.Helper()
	text, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}
