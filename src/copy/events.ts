import type { WindlassError } from '../errors.ts'
import type { Descriptor, Platform } from '../oci/descriptor.ts'
import type { Digest } from '../oci/digest.ts'

/**
 * Where a layer stands. `waiting` has no slot yet, `exists` is in the store already, `pulling` flows from the network to the disk,
 * `syncing` is unpacked and verified and waits for the disk and for the layers below it, `delivering` is verified and on its way into an engine, which
 * unpacks it, `done` is published. A blob that goes to another place as it is, is `copying`, and then `copied`; one that is only looked into is `reading`,
 * and then `read`.
 */
export type LayerPhase =
  | 'waiting'
  | 'exists'
  | 'pulling'
  | 'syncing'
  | 'delivering'
  | 'done'
  | 'copying'
  | 'copied'
  | 'reading'
  | 'read'

/** One layer's counters, in bytes and entries since its start; rates are the reader's business. */
export interface LayerProgress {
  /** Compressed bytes here so far, those of an earlier, cut pull included. */
  readonly bytesDownloaded: number
  /** Of these, the bytes that an earlier pull left. */
  readonly bytesResumed: number
  /** Decompressed bytes that the unpack thread has consumed. */
  readonly bytesUnpacked: number
  readonly entries: number
}

/** One stage of a layer's pipeline at one moment, in the order of the work: lock, source, spool, decompress, unpack, sync, commit. */
export interface StageFacts {
  readonly name: string
  readonly bytesIn: number
  readonly bytesOut: number
  /** What it waits for, as far as it is known. */
  readonly waitsFor: 'input' | 'output' | 'itself' | 'nobody'
}

/** What was found guilty of a stall, and why. The sentences of the evidence are for people, with numbers. */
interface StallFacts {
  readonly stage: string
  readonly kind: string
  readonly confidence: 'certain' | 'likely' | 'unknown'
  readonly sinceMs: number
  readonly evidence: readonly string[]
}

/** A failed attempt, after which another one follows. */
export interface RetryFacts {
  readonly host: string
  readonly message: string
  readonly pauseMs: number
}

/** An external decompressor that was given up, as the layer tells it. */
export interface FallbackFacts {
  /** Its absolute path. */
  readonly program: string
  readonly error: WindlassError
  /** Bytes that it had given out and that are kept once they are proven right. */
  readonly bytesProven: number
  /** What it gave out is wrong: the layer is done again. */
  readonly redone: boolean
}

/** What a pull tells while it runs. JSON-safe: `--progress json` prints one per line. */
export type PullEvent =
  | {
      readonly type: 'start'
      readonly reference: string
      readonly registry: string
      /** Where it goes, if not into the store. */
      readonly to?: string
    }
  | {
      readonly type: 'resolved'
      readonly reference: string
      /** Digest of the document the reference named (an index or a manifest). */
      readonly digest: Digest
      /** Digest of the config: docker's image ID. */
      readonly imageId: Digest
      /** `unknown` where a whole index is copied. */
      readonly platform: Platform
      readonly layers: readonly Descriptor[]
    }
  | {
      readonly type: 'layer'
      readonly layer: number
      readonly digest: Digest
      readonly size: number
      readonly phase: LayerPhase
    }
  | ({
      readonly type: 'progress'
      readonly layer: number
      readonly digest: Digest
      readonly size: number
    } & LayerProgress)
  /** Four times a second for each layer under way; `atMs` counts from the start of the pull. */
  | { readonly type: 'stages'; readonly layer: number; readonly atMs: number; readonly stages: readonly StageFacts[] }
  | ({ readonly type: 'stall'; readonly layer?: number; readonly atMs: number } & StallFacts)
  /** The stage that a stall named moves again. */
  | { readonly type: 'recovered'; readonly layer?: number; readonly atMs: number; readonly stage: string }
  /** An attempt failed and the next one follows after the pause. */
  | {
      readonly type: 'retry'
      readonly layer?: number
      readonly atMs: number
      readonly host: string
      readonly message: string
      readonly pauseMs: number
    }
  /** An external decompressor was given up; `bytesProven` of what it had given out were proven right and kept, or all is done again. */
  | {
      readonly type: 'fallback'
      readonly layer: number
      readonly atMs: number
      readonly program: string
      readonly message: string
      readonly evidence: readonly string[]
      readonly bytesProven: number
      readonly redone: boolean
    }
  | { readonly type: 'warning'; readonly message: string; readonly layer?: number }
  /** Something takes longer than usual, and why; or an image is let in, and for whose signature. */
  | { readonly type: 'notice'; readonly message: string; readonly layer?: number }
  /** The image goes into an engine, by this route. */
  | { readonly type: 'delivery'; readonly engine: string; readonly route: string; readonly message: string }
  | ({ readonly type: 'done' } & PullResult)

/** What a pull ends with. */
export interface PullResult {
  /** Normalised reference with the digest of the document it named: `docker.io/library/debian:12@sha256:…`. */
  readonly reference: string
  readonly digest: Digest
  readonly imageId: Digest
  /** False if every layer was there and the name already pointed to this image. */
  readonly changed: boolean
  readonly bytesDownloaded: number
  readonly entries: number
  readonly elapsedMs: number
}
