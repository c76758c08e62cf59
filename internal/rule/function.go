package rule

import (
	"fmt"
	"slices"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common"
	"cel.dev/cel-go/common/ast"
	"cel.dev/cel-go/parser"
	"go.yaml.in/yaml/v3"
)

// functionSpec is a test that a rule file gives a name to: what it is of, as an
// element or a field of the event, stands for its parameter.
type functionSpec struct {
	name      string
	node      *yaml.Node
	parameter string
	body      text
}

func (p *reader) functions(n *yaml.Node) {
	p.pairs(n, "functions", func(key, value *yaml.Node) {
		f := functionSpec{name: key.Value, node: key}
		p.mapping(value, "function "+key.Value, keys{
			"of": func(n *yaml.Node) { f.parameter = p.scalar(n, "of") },
			"is": func(n *yaml.Node) { f.body = p.text(n, "is") },
		})
		switch {
		case !isName(f.name, '_'):
			p.report(key, "function name %q is not lower case letters, digits and underscores", f.name)
		case !isName(f.parameter, '_') || f.body.value == "":
			p.report(key, "function %s needs of, the name of what it tests, and is", f.name)
		default:
			p.file.functions = append(p.file.functions, f)
		}
	})
}

// functions gathers the functions of all files. They are expanded where they are
// called, so what holds for conditions holds for them: they know lists and the
// event, cost what they say, and bound what the kernel sends. They do not call each
// other.
func (l *loader) functions(files []*file, env *cel.Env) []cel.Macro {
	var macros []cel.Macro
	seen := make(map[string]bool)
	for _, f := range files {
		if f.source != l.source {
			continue
		}
		for _, spec := range f.functions {
			if seen[spec.name] || isReserved(spec.name) {
				l.report(f, "", spec.node.Line, spec.node.Column, "function %s is given twice, or a word of the language", spec.name)
				continue
			}
			seen[spec.name] = true
			parsed, issues := env.Parse(spec.body.value)
			if issues.Err() != nil {
				for _, problem := range issues.Errors() {
					line, column := spec.body.position(offset(spec.body.value, problem.Location.Line(), problem.Location.Column()))
					l.report(f, "", line, column, "function %s: %s", spec.name, problem.Message)
				}
				continue
			}
			body := parsed.NativeRep().Expr()
			if slices.Contains(boundNames(body), spec.parameter) {
				l.report(f, "", spec.node.Line, spec.node.Column, "function %s: a macro uses the name of its parameter %s", spec.name, spec.parameter)
				continue
			}
			macros = append(macros, cel.GlobalMacro(spec.name, 1, expand(spec, body, l.source == sourceAudit)))
		}
	}
	return macros
}

// expand puts the argument of a call in the place of the parameter. Where any expression
// may be one, it is evaluated as often as the parameter is.
func expand(spec functionSpec, body ast.Expr, any bool) parser.MacroExpander {
	inner := boundNames(body)
	return func(helper parser.ExprHelper, _ ast.Expr, args []ast.Expr) (ast.Expr, *common.Error) {
		if any {
			var taken string
			visit(args[0], func(e ast.Expr) {
				if e.Kind() == ast.IdentKind && slices.Contains(inner, e.AsIdent()) {
					taken = e.AsIdent()
				}
			})
			if taken != "" {
				return nil, helper.NewError(args[0].ID(), fmt.Sprintf("%s() uses the name %s itself; call the variable something else", spec.name, taken))
			}
			return substitute(helper, body, spec.parameter, args[0]), nil
		}
		root := args[0]
		for root.Kind() == ast.SelectKind && !root.AsSelect().IsTestOnly() {
			root = root.AsSelect().Operand()
		}
		if root.Kind() != ast.IdentKind {
			return nil, helper.NewError(args[0].ID(), fmt.Sprintf("%s() takes a variable or a field", spec.name))
		}
		if slices.Contains(inner, root.AsIdent()) {
			return nil, helper.NewError(args[0].ID(), fmt.Sprintf("%s() uses the name %s itself; call the variable something else", spec.name, root.AsIdent()))
		}
		return substitute(helper, body, spec.parameter, args[0]), nil
	}
}

func substitute(helper parser.ExprHelper, body ast.Expr, parameter string, argument ast.Expr) ast.Expr {
	made := helper.Copy(body)
	visit(made, func(e ast.Expr) {
		if e.Kind() == ast.IdentKind && e.AsIdent() == parameter {
			e.SetKindCase(helper.Copy(argument))
		}
	})
	return made
}

// boundNames are the variables that macros within the expression iterate with.
func boundNames(e ast.Expr) []string {
	var names []string
	visit(e, func(e ast.Expr) {
		if e.Kind() == ast.ComprehensionKind {
			names = append(names, e.AsComprehension().IterVar())
		}
	})
	return names
}

// visit calls see for an expression after all within it.
func visit(e ast.Expr, see func(ast.Expr)) {
	ast.PostOrderVisit(e, ast.NewExprVisitor(see))
}
