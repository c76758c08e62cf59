package auditrule

import (
	"encoding/json"
	"net/netip"
	"path"
	"strconv"
	"strings"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common/overloads"
	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/common/types/ref"
	"cel.dev/cel-go/common/types/traits"

	auditv1 "github.com/seawall-security/seawall/proto/audit/v1"
)

// What has() of a variable and matches() become; no rule can write them.
const (
	functionPresent = "@present"
	functionMatches = "@matches"
)

// acceptsJSON are the functions that take any value and fail on none.
var acceptsJSON = map[string]bool{
	functionPresent: true, "text": true, "number": true, "image": true, "clean": true, "under": true, "base": true, "ext": true,
	"lower": true, "join": true, "certificate_request": true, "in_network": true, "is_private": true, "is_controller": true,
	overloads.StartsWith: true, overloads.EndsWith: true, overloads.Contains: true,
}

// functions are those beside CEL's own. All are total: they fail on no argument.
func (l *language) functions() []cel.EnvOption {
	dyn, text := cel.DynType, cel.StringType
	unary := func(name string, member bool, result *cel.Type, f func(ref.Val) ref.Val) cel.EnvOption {
		overload := cel.Overload
		if member {
			overload = cel.MemberOverload
		}
		return cel.Function(name, overload(name+"_any", []*cel.Type{dyn}, result, cel.UnaryBinding(f)))
	}
	binary := func(name string, second, result *cel.Type, f func(a, b ref.Val) ref.Val) cel.EnvOption {
		return cel.Function(name, cel.MemberOverload(name+"_any", []*cel.Type{dyn, second}, result, cel.BinaryBinding(f)))
	}
	ofText := func(name string, f func(string) string) cel.EnvOption {
		return unary(name, true, text, func(v ref.Val) ref.Val { return types.String(f(textOf(v))) })
	}
	compare := func(name string, f func(text, part string) bool) cel.EnvOption {
		return binary(name, dyn, cel.BoolType, func(a, b ref.Val) ref.Val {
			text, ok := a.(types.String)
			part, also := b.(types.String)
			return types.Bool(ok && also && f(string(text), string(part)))
		})
	}
	ofUser := func(name string, result *cel.Type, f func(*auditv1.User) ref.Val) cel.EnvOption {
		return cel.Function(name, cel.MemberOverload("user_"+name, []*cel.Type{userType}, result, cel.UnaryBinding(func(v ref.Val) ref.Val {
			u, _ := v.Value().(*auditv1.User)
			return f(u)
		})))
	}
	ofClass := func(name string, class userClass) cel.EnvOption {
		return ofUser(name, cel.BoolType, func(u *auditv1.User) ref.Val { return types.Bool(classOf(u) == class) })
	}
	return []cel.EnvOption{
		unary(functionPresent, false, cel.BoolType, func(v ref.Val) ref.Val { return types.Bool(isPresent(v)) }),
		unary("text", false, text, func(v ref.Val) ref.Val { return types.String(textOf(v)) }),
		unary("number", false, cel.DoubleType, numberOf),
		unary("image", false, dyn, func(v ref.Val) ref.Val { return &jsonObject{fields: imageOf(textOf(v))} }),
		unary("certificate_request", false, dyn, func(v ref.Val) ref.Val { return wrap(certificateRequestOf(textOf(v))) }),
		ofText("clean", clean),
		ofText("base", func(s string) string { return s[strings.LastIndexByte(s, '/')+1:] }),
		ofText("ext", path.Ext),
		ofText("lower", strings.ToLower),
		compare("under", under),
		compare(overloads.StartsWith, strings.HasPrefix),
		compare(overloads.EndsWith, strings.HasSuffix),
		compare(overloads.Contains, strings.Contains),
		compare(functionMatches, func(text, expression string) bool {
			pattern := l.patterns[expression]
			return pattern != nil && pattern.matches(text)
		}),
		binary("join", text, text, func(v, separator ref.Val) ref.Val { return types.String(joined(v, string(separator.(types.String)))) }),
		binary("in_network", dyn, cel.BoolType, func(ip, networks ref.Val) ref.Val { return types.Bool(inNetwork(textOf(ip), networks)) }),
		unary("is_private", true, cel.BoolType, func(v ref.Val) ref.Val { return types.Bool(isPrivate(textOf(v))) }),
		cel.Function("at", cel.MemberOverload("list_at", []*cel.Type{cel.ListType(text), cel.IntType}, text, cel.BinaryBinding(elementAt))),
		cel.Function("get",
			cel.MemberOverload("map_get", []*cel.Type{cel.MapType(text, text), text}, text, cel.BinaryBinding(valueOf)),
			cel.MemberOverload("extra_get", []*cel.Type{cel.MapType(text, cel.ObjectType("seawall.audit.v1.Values")), text}, text, cel.BinaryBinding(valueOf))),
		ofClass("is_person", person), ofClass("is_service_account", serviceAccount), ofClass("is_node", node),
		ofClass("is_system", system), ofClass("is_anonymous", anonymous),
		ofUser("is_control_plane", cel.BoolType, func(u *auditv1.User) ref.Val { return types.Bool(isControlPlane(u.GetName())) }),
		ofUser("is_provider", cel.BoolType, func(u *auditv1.User) ref.Val { return types.Bool(isProvider(u.GetName())) }),
		unary("is_controller", true, cel.BoolType, func(v ref.Val) ref.Val { return types.Bool(controllers[textOf(v)]) }),
		ofUser("account_namespace", text, func(u *auditv1.User) ref.Val {
			namespace, _ := account(u.GetName())
			return types.String(namespace)
		}),
		ofUser("account_name", text, func(u *auditv1.User) ref.Val {
			_, name := account(u.GetName())
			return types.String(name)
		}),
	}
}

// textOf is any value as text; that of what is absent is empty.
func textOf(v ref.Val) string {
	switch v := v.(type) {
	case types.String:
		return string(v)
	case types.Double:
		return strconv.FormatFloat(float64(v), 'f', -1, 64)
	case *jsonList:
		return joined(v, ", ")
	case traits.Lister:
		return joined(v, ", ")
	case *jsonObject:
		var b strings.Builder
		encoder := json.NewEncoder(&b)
		encoder.SetEscapeHTML(false)
		if encoder.Encode(v.fields) != nil {
			return ""
		}
		return strings.TrimSuffix(b.String(), "\n")
	case *absent, types.Null:
		return ""
	}
	if s, ok := v.ConvertToType(types.StringType).(types.String); ok {
		return string(s)
	}
	return ""
}

func numberOf(v ref.Val) ref.Val {
	switch v := v.(type) {
	case types.Double:
		return v
	case types.Int:
		return types.Double(v)
	case types.Uint:
		return types.Double(v)
	case types.String:
		if f, err := strconv.ParseFloat(string(v), 64); err == nil {
			return types.Double(f)
		}
	}
	return types.Double(0)
}

// joined is the text of the elements; that of what is no list is empty.
func joined(v ref.Val, separator string) string {
	elements, ok := v.(traits.Iterable)
	if !ok {
		return ""
	}
	var b strings.Builder
	for it, first := elements.Iterator(), true; it.HasNext() == types.True; first = false {
		if !first {
			b.WriteString(separator)
		}
		b.WriteString(textOf(it.Next()))
	}
	return b.String()
}

func elementAt(list, index ref.Val) ref.Val {
	lister, i := list.(traits.Lister), index.(types.Int)
	if i < 0 || i >= lister.Size().(types.Int) {
		return types.String("")
	}
	return lister.Get(i)
}

// valueOf is the value of a key, the first of several.
func valueOf(container, key ref.Val) ref.Val {
	value, ok := container.(traits.Mapper).Find(key)
	if !ok {
		return types.String("")
	}
	if several, ok := value.Value().(*auditv1.Values); ok {
		if len(several.GetValues()) == 0 {
			return types.String("")
		}
		return types.String(several.Values[0])
	}
	return value
}

// clean is a path without what does not change where it leads.
func clean(p string) string {
	if p == "" {
		return ""
	}
	return path.Clean("/" + p)
}

// under reports whether a path is a folder, or below it.
func under(p, folder string) bool {
	if p, folder = clean(p), clean(folder); p == "" || folder == "" {
		return false
	}
	return p == folder || strings.HasPrefix(p, strings.TrimSuffix(folder, "/")+"/")
}

// imageOf are the parts of an image's name.
func imageOf(name string) map[string]any {
	rest, digest, _ := strings.Cut(name, "@")
	tag := ""
	if i := strings.LastIndexByte(rest, ':'); i > strings.LastIndexByte(rest, '/') {
		rest, tag = rest[:i], rest[i+1:]
	}
	registry := ""
	if rest != "" {
		registry = "docker.io"
	}
	if first, below, ok := strings.Cut(rest, "/"); ok && (strings.ContainsAny(first, ".:") || first == "localhost") {
		registry, rest = first, below
	} else if rest != "" && !ok {
		rest = "library/" + rest
	}
	return map[string]any{
		"registry": registry, "repository": rest, "name": rest[strings.LastIndexByte(rest, '/')+1:], "tag": tag, "digest": digest,
	}
}

func address(s string) netip.Addr {
	ip, err := netip.ParseAddr(s)
	if err != nil {
		return netip.Addr{}
	}
	return ip.Unmap().WithZone("")
}

// inNetwork reports whether an address is in one of the networks, one or a list of them.
func inNetwork(s string, networks ref.Val) bool {
	ip := address(s)
	if !ip.IsValid() {
		return false
	}
	if several, ok := networks.(traits.Iterable); ok {
		for it := several.Iterator(); it.HasNext() == types.True; {
			if contains(textOf(it.Next()), ip) {
				return true
			}
		}
		return false
	}
	return contains(textOf(networks), ip)
}

func contains(network string, ip netip.Addr) bool {
	if prefix, err := netip.ParsePrefix(network); err == nil {
		return prefix.Contains(ip)
	}
	return address(network) == ip // invalid equals no valid one
}

// shared is what carriers use between themselves and their customers (RFC 6598); clouds
// use it inside.
var shared = netip.MustParsePrefix("100.64.0.0/10")

func isPrivate(s string) bool {
	ip := address(s)
	return ip.IsValid() && (ip.IsPrivate() || ip.IsLoopback() || ip.IsLinkLocalUnicast() || shared.Contains(ip))
}
