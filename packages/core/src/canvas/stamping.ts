import { toSignatureDict, type ApplyOptions } from '../app/option-names.ts';
import {
  asList,
  bodyOf,
  copyOf,
  isChain,
  isChord,
  isGroup,
  partsOf,
  readFields,
  withBody,
  withOptions,
  withParts,
  writeFields,
  type SignatureFields,
} from './fields.ts';
import type { SignatureDict } from './signature-dict.ts';

export type Stamps = Readonly<Record<string, unknown>>;

/**
 * Goes through a signature and says what each part of it is stamped with. Every method gets the part as it travels and
 * the stamps that it has from what it is in; what it returns is added. What is not there adds nothing.
 * Source: celery/canvas.py, StampingVisitor.
 */
export interface StampingVisitor {
  /** Each task. */
  onSignature(signature: SignatureDict, stamps: Stamps): Stamps;
  onGroupStart?(group: SignatureDict, stamps: Stamps): Stamps;
  onGroupEnd?(group: SignatureDict, stamps: Stamps): void;
  onChainStart?(chain: SignatureDict, stamps: Stamps): Stamps;
  onChainEnd?(chain: SignatureDict, stamps: Stamps): void;
  /** Default: {@link onGroupStart}. */
  onChordHeaderStart?(chord: SignatureDict, stamps: Stamps): Stamps;
  /** Default: {@link onGroupEnd}. */
  onChordHeaderEnd?(chord: SignatureDict, stamps: Stamps): void;
  onChordBody?(chord: SignatureDict, stamps: Stamps): Stamps;
  onCallback?(callback: SignatureDict, stamps: Stamps): Stamps;
  onErrback?(errback: SignatureDict, stamps: Stamps): Stamps;
}

export interface StampOptions {
  /** Where two stamps have one name keep both, in a list. Default false: the outer one stays. */
  readonly appendStamps?: boolean;
}

/** Source: celery/canvas.py, stamp of each class. */
export function stampFields(
  fields: SignatureFields,
  given: Stamps | StampingVisitor,
  { appendStamps = false }: StampOptions = {},
): SignatureFields {
  const isVisitor = typeof (given as Partial<StampingVisitor>).onSignature === 'function';
  const stamper = new Stamper(isVisitor ? (given as StampingVisitor) : undefined, appendStamps);
  return stamper.stamp(copyOf(fields), isVisitor ? {} : (given as Stamps));
}

class Stamper {
  readonly #visitor: StampingVisitor | undefined;
  readonly #append: boolean;

  constructor(visitor: StampingVisitor | undefined, append: boolean) {
    this.#visitor = visitor;
    this.#append = append;
  }

  stamp(fields: SignatureFields, outer: Stamps): SignatureFields {
    const visitor = this.#visitor;
    if (isChain(fields)) {
      const stamps = this.#merge(outer, visitor?.onChainStart?.(writeFields(fields), outer));
      const stamped = this.#links(this.#parts(fields, stamps), stamps);
      visitor?.onChainEnd?.(writeFields(stamped), stamps);
      return stamped;
    }
    if (isGroup(fields)) {
      const stamps = this.#merge(outer, visitor?.onGroupStart?.(writeFields(fields), outer));
      const stamped = this.#links(this.#parts(fields, stamps), stamps);
      visitor?.onGroupEnd?.(writeFields(stamped), stamps);
      return stamped;
    }
    if (isChord(fields)) return this.#chord(fields, outer);
    const linked = this.#links(fields, outer);
    const stamps = this.#merge(outer, visitor?.onSignature(writeFields(linked), outer));
    const all = this.#merge(stamps, fields.options.stamps);
    return withOptions(linked, { stamps: all, stampedHeaders: Object.keys(all) });
  }

  #chord(fields: SignatureFields, outer: Stamps): SignatureFields {
    const visitor = this.#visitor;
    const dict = writeFields(fields);
    const begun = visitor?.onChordHeaderStart
      ? visitor.onChordHeaderStart(dict, outer)
      : visitor?.onGroupStart?.(dict, outer);
    const stamps = this.#merge(outer, begun);
    const stamped = this.#links(this.#parts(fields, stamps), stamps);
    if (visitor?.onChordHeaderEnd) visitor.onChordHeaderEnd(writeFields(stamped), stamps);
    else visitor?.onGroupEnd?.(writeFields(stamped), stamps);
    // Source: celery/canvas.py, _chord.stamp: without a visitor the body is left alone.
    if (visitor === undefined) return stamped;
    const body = this.#merge(stamps, visitor.onChordBody?.(writeFields(stamped), stamps));
    return withBody(stamped, this.stamp(bodyOf(stamped), body));
  }

  #parts(fields: SignatureFields, stamps: Stamps): SignatureFields {
    return withParts(
      fields,
      partsOf(fields).map((part) => this.stamp(part, stamps)),
    );
  }

  #links(fields: SignatureFields, outer: Stamps): SignatureFields {
    const { link, linkError } = fields.options;
    const options: { -readonly [K in 'link' | 'linkError']?: ApplyOptions[K] } = {};
    if (link !== undefined) options.link = this.#each(asList(link), outer, 'onCallback');
    if (linkError !== undefined) options.linkError = this.#each(asList(linkError), outer, 'onErrback');
    return link === undefined && linkError === undefined ? fields : withOptions(fields, options);
  }

  #each(
    signatures: readonly Parameters<typeof toSignatureDict>[0][],
    outer: Stamps,
    method: 'onCallback' | 'onErrback',
  ): readonly SignatureDict[] {
    let stamps = outer;
    return signatures.map((signature) => {
      const dict = toSignatureDict(signature);
      stamps = this.#merge(stamps, this.#visitor?.[method]?.(dict, stamps));
      return writeFields(this.stamp(readFields(dict), stamps));
    });
  }

  /** Source: celery/canvas.py, _merge_dictionaries. */
  #merge(first: Stamps, second: Stamps | undefined): Stamps {
    if (second === undefined) return first;
    const merged: Record<string, unknown> = { ...second, ...first };
    if (!this.#append) return merged;
    for (const name of Object.keys(first)) {
      if (Object.hasOwn(second, name)) merged[name] = [...listed(first[name]), ...listed(second[name])];
    }
    return merged;
  }
}

function listed(value: unknown): readonly unknown[] {
  return Array.isArray(value) ? (value as unknown[]) : [value];
}
