type Attributes = Readonly<Record<string, string | number>>;

const GRAPH: Attributes = { bgcolor: 'mintcream' };
const COMMON: Attributes = { shape: 'box', style: 'filled', fontname: 'HelveticaNeue' };
const EDGE: Attributes = {
  arrowhead: 'vee',
  fontname: 'HelveticaNeue',
  color: 'darkseagreen4',
  arrowcolor: 'black',
  arrowsize: 0.7,
};
export const NODE: Attributes = { fillcolor: 'palegreen3', color: 'palegreen4' };
export const LEAF: Attributes = { fillcolor: 'palegreen1', color: 'palegreen2' };

/** A graph in the language of Graphviz, in Celery's colours. Source: celery/utils/graph.py, GraphFormatter. */
export class DotGraph {
  readonly #nodes = new Map<string, Attributes>();
  readonly #edges: string[] = [];

  node(name: string, attributes: Attributes = LEAF): void {
    this.#nodes.set(name, attributes);
  }

  edge(from: string, to: string, attributes: Attributes = {}): void {
    this.#edges.push(`    ${text(from)} -> ${text(to)} [${written({ ...EDGE, ...attributes })}]`);
  }

  toString(): string {
    const nodes = [...this.#nodes].map(([name, own]) => `    ${text(name)} [${written({ ...COMMON, ...own })}]`);
    return ['digraph dependencies {', `    graph [${written(GRAPH)}]`, ...nodes, ...this.#edges, '}'].join('\n');
  }
}

function written(attributes: Attributes): string {
  return Object.entries(attributes)
    .map(([name, value]) => `${name}=${text(String(value))}`)
    .join(', ');
}

function text(value: string): string {
  return `"${value.replaceAll('\\', '\\\\').replaceAll('"', '\\"')}"`;
}
