/** A rescue: the plan that is made without touching anything, and how it is carried out. */
import { closeSync, readSync } from 'node:fs'
import { WindlassError } from '../../errors.ts'
import { type ForeignPipe, peekPipe } from '../../sys/foreign-pipes.ts'
import type { HostView } from '../../sys/host-view.ts'
import { openForeignFile, Replaced } from '../../sys/open-foreign-pipe.ts'
import { type ProcessTable, readProcessTable } from '../../sys/process-files.ts'
import { countPullGoroutines, readAnyGoroutines } from '../goroutines.ts'
import { findLines, type Line } from '../lines.ts'
import { type Before, examine } from './examine.ts'
import { type LayerFile, openLayerFiles, whileReading } from './layer-files.ts'
import { writesOutputAlone } from './output-alone.ts'
import { type Choice, choose, type Identified, type Known, type Resumption } from './plan.ts'
import { Refusal } from './refusal.ts'
import { type OpenFile, readSubject, type Subject } from './subject.ts'
import { checkStoodStill, type Unfinished } from './unfinished.ts'
import { wasGiven } from './was-given.ts'

export interface PlanOptions {
  readonly signal: AbortSignal
  readonly unfinished?: Unfinished | undefined
  /**
   * Layers that may be the one although the engine has them open no more: from a registry. Asked only if nothing else is found.
   * @param sizeMax larger ones are none: the decompressor has been given all of it
   */
  readonly fetchLayers?: ((sizeMax: number) => Promise<readonly LayerFile[]>) | undefined
  /** Told each time that something was read. */
  readonly moved?: (() => void) | undefined
}

export interface RescuePlan extends AsyncDisposable {
  readonly subject: Subject
  readonly choice: Choice
  /** What waits in its input. */
  readonly input: Buffer
  readonly before: Before & Disposable
  readonly unfinished: Unfinished | undefined
}

/** @throws Refusal */
export async function planRescue(host: HostView, line: Line, options: PlanOptions): Promise<RescuePlan> {
  const table = readProcessTable(host)
  // What is named there and cannot be loaded, the loader of every program complains of.
  const isPreloaded = (await host.disk.file(`${line.engine.rootPrefix}/etc/ld.so.preload`)) !== undefined
  const subject = readSubject(host, line, table, { mayComplain: isPreloaded })
  checkStoodStill(options.unfinished, { writer: subject.writer.pid, bytes: subject.written })
  if (subject.inFlight > 0 && options.unfinished?.position === undefined)
    throw new Refusal('RESCUE_CONSUMER_BUSY', `${subject.inFlight} bytes that it wrote have not been taken yet`)
  if (subject.isMarked && options.unfinished?.hasMarked !== true)
    throw new Refusal(
      'RESCUE_WRITER_LOST',
      'its output has the room that a rescue gives it, and what that one has noted is not here',
    )
  const isWritten = options.unfinished?.written !== undefined
  const input = subject.stdin === undefined || isWritten ? Buffer.alloc(0) : peek(subject.stdin)
  await using stack = new AsyncDisposableStack()
  const choice = await chooseLayer({ host, line, table, subject, input }, options, stack)
  if (subject.stdout === undefined && choice.position.bytes < choice.total)
    throw new Refusal('RESCUE_OUTPUT_CLOSED', 'it has closed its output before the end: nobody reads there any more')
  const before = stack.use(openBefore(choice))
  const kept = stack.move()
  const { unfinished } = options
  return { subject, choice, input, before, unfinished, [Symbol.asyncDispose]: () => kept.disposeAsync() }
}

interface Situation {
  readonly host: HostView
  readonly line: Line
  readonly table: ProcessTable
  readonly subject: Subject
  readonly input: Buffer
}

/** @param stack what it opens stays open as long as this */
async function chooseLayer(
  { host, line, table, subject, input }: Situation,
  options: PlanOptions,
  stack: AsyncDisposableStack,
): Promise<Choice> {
  const written = options.unfinished?.written
  if (written !== undefined) return allWritten(written)
  const own = await openLayerFiles(host, line.engine)
  const others = peekOthers(host, line, table)
  for (const layer of own) stack.use(layer)
  const known = {
    ...subject,
    isOutputAlone: await writesOutputAlone(host, subject),
    otherLines: others.length,
    hasClosed: subject.stdout === undefined,
    sharesLayers: line.engine.kind !== 'dockerd',
    mayBeSent: await mayBeSent(host, line, others.length),
  }
  return await chooseAmong(known, own, { ...options, input, others }).catch(async (error: unknown) => {
    if (options.fetchLayers === undefined || !isAboutLayers(error)) throw error
    const fetched = await options.fetchLayers(subject.read + subject.inputWaiting)
    for (const layer of fetched) stack.use(layer)
    if (fetched.length === 0) throw error
    // Of a layer that the engine has open more is known than of any other.
    return await chooseAmong(known, fetched, { ...options, input, others }).catch((second: unknown) => {
      throw own.length > 0 && isAboutLayers(second) ? error : second
    })
  })
}

/** An earlier rescue has written all of it, and may have taken what was left of the input, too: the layer is needed no more. */
function allWritten({ name, digest, diffId, total }: NonNullable<Unfinished['written']>): Choice {
  const layer: LayerFile = {
    name,
    digest,
    size: 0,
    position: undefined,
    isFetched: false,
    read: async function* () {},
    [Symbol.asyncDispose]: async () => {},
  }
  const evidence = 'the journal of an earlier rescue says that all of it was written'
  const nothing = { inputAt: undefined, others: 0, rivals: 0, end: Buffer.alloc(0), enginePositions: [], contents: [] }
  return {
    layer,
    digest,
    diffId,
    total,
    checksum: 0,
    ...nothing,
    isGiven: true,
    position: { bytes: total, file: undefined, evidence },
  }
}

function isAboutLayers(error: unknown): boolean {
  const codes = ['RESCUE_NO_LAYER', 'RESCUE_LAYER_DAMAGED', 'RESCUE_POSITION_UNPROVEN', 'RESCUE_LAYER_UNCLEAR']
  return error instanceof Refusal && codes.includes(error.code)
}

/** Of a dockerd whose goroutines cannot be asked for nothing is known of that. */
async function mayBeSent(host: HostView, { engine }: Line, others: number): Promise<boolean> {
  const counts = engine.kind === 'dockerd' ? await readAnyGoroutines(host, engine) : undefined
  return counts !== undefined && countPullGoroutines(counts).unpackingOfPulls < others + 1
}

/** What waits for the other decompressors of an engine: their files cannot be told from those of this one. */
function peekOthers(host: HostView, line: Line, table: ProcessTable): Buffer[] {
  return findLines(host, [line.engine], table)
    .filter(other => other.key !== line.key)
    .map(({ stdin }) => (stdin === undefined ? Buffer.alloc(0) : peekIfThere(stdin)))
}

/** What cannot be looked at may be of any layer. */
function peekIfThere(pipe: ForeignPipe): Buffer {
  try {
    return peekPipe(pipe)
  } catch {
    return Buffer.alloc(0)
  }
}

interface ChoiceOptions extends PlanOptions {
  readonly input: Buffer
  readonly others: readonly Buffer[]
}

async function chooseAmong(
  subject: Subject & Known,
  layers: readonly LayerFile[],
  options: ChoiceOptions,
): Promise<Choice> {
  const { signal, unfinished, input, others, moved = () => {} } = options
  const question = { input, others, files: subject.files, positionMax: subject.written }
  const examined: Identified[] = []
  const damaged: string[] = []
  const watched = layers.filter(layer => mayBe(layer, input)).map(layer => whileReading(layer, moved))
  for (const layer of watched) {
    try {
      const found = await examine(layer, question, signal)
      if (layer.digest === undefined || layer.digest === found.digest)
        examined.push({ ...found, isGiven: await wasGiven(subject.line, { input, examined: found }, signal) })
      else damaged.push(`${layer.name} hashes to ${found.digest}`)
    } catch (error) {
      signal.throwIfAborted()
      if (!(error instanceof WindlassError)) throw error
      damaged.push(`${layer.name}: ${error.message}`) // also one that is still being downloaded
    }
  }
  if (examined.length === 0 && damaged.length > 0) throw new Refusal('RESCUE_LAYER_DAMAGED', damaged.join('; '))
  return choose(subject, examined, resumptionOf(unfinished))
}

function resumptionOf(unfinished: Unfinished | undefined): Resumption | undefined {
  const { position, layer } = unfinished ?? {}
  return position === undefined ? undefined : { position, digest: layer?.digest }
}

/** Where the engine's place in the file can be seen, it has read at least what waits in the decompressor's input. */
function mayBe({ position }: LayerFile, input: Buffer): boolean {
  return position === undefined || position >= input.length
}

function peek(pipe: ForeignPipe): Buffer {
  try {
    return peekPipe(pipe)
  } catch (error) {
    if (error instanceof Replaced) throw new Refusal('RESCUE_MOVES', error.message, error)
    const isGone = (error as NodeJS.ErrnoException).code === 'ENOENT'
    throw new Refusal(
      isGone ? 'RESCUE_GONE' : 'RESCUE_DENIED',
      `its input may not be looked at: ${(error as Error).message}`,
      error,
    )
  }
}

/** The engine's file as far as it is written. */
function openBefore({ position: { file } }: Choice): Before & Disposable {
  if (file === undefined) return { length: 0, read: () => Buffer.alloc(0), [Symbol.dispose]() {} }
  let fd: number | undefined = openEngineFile(file)
  return {
    length: file.position,
    read(at, length) {
      const bytes = Buffer.alloc(length)
      return fd === undefined ? Buffer.alloc(0) : bytes.subarray(0, readSync(fd, bytes, 0, length, at))
    },
    [Symbol.dispose]() {
      if (fd !== undefined) closeSync(fd)
      fd = undefined
    },
  }
}

function openEngineFile({ link, path }: OpenFile): number {
  try {
    return openForeignFile(link, path)
  } catch (error) {
    throw new Refusal('RESCUE_MOVES', `the engine has closed ${path} meanwhile`, error)
  }
}

/** The same subject again: nothing of it may have moved. @throws Refusal RESCUE_MOVES, RESCUE_CONSUMER_BUSY */
export function checkUnchanged(host: HostView, plan: RescuePlan, table: ProcessTable): void {
  const { subject, choice } = plan
  const { waited, line } = subject
  const isWaitedFor =
    table.get(waited.pid)?.parent === line.engine.process.pid &&
    table.get(line.engine.process.pid)?.startTicks === line.engine.process.startTicks
  if (!isWaitedFor) throw new Refusal('RESCUE_GONE', 'its engine has ended meanwhile')
  const now = readSubject(host, subject.line, table, { by: 'held', mayComplain: subject.mayComplain })
  const started = now.others.find(({ pid }) => !subject.others.some(other => other.pid === pid))
  if (started !== undefined)
    throw new Refusal('RESCUE_MOVES', `it has started process ${started.pid} (${started.name}) meanwhile`)
  if (now.written !== subject.written && !isBesides(now, plan))
    throw new Refusal(
      'RESCUE_MOVES',
      `it has written ${now.written - subject.written} bytes meanwhile: it is not stuck`,
    )
  const { file } = choice.position
  const same = now.files.find(({ link }) => link === file?.link)
  if (file !== undefined && (same?.position !== file.position || same.path !== file.path))
    throw new Refusal('RESCUE_MOVES', `the engine has gone on in ${file.path} meanwhile`)
  if (now.isMarked !== subject.isMarked)
    throw new Refusal('RESCUE_MOVES', 'another windlass has begun to write to its output meanwhile')
  if (now.inFlight > subject.inFlight)
    throw new Refusal('RESCUE_CONSUMER_BUSY', `${now.inFlight} bytes that it wrote have not been taken yet`)
}

/**
 * What a program with a clock of its own writes to itself (an eventfd) is counted, too. Who has nothing but its output to write to has written to that; of others it is seen by what they have
 * taken, and by what the engine has.
 */
function isBesides({ isExact, stdin }: Subject, { input }: RescuePlan): boolean {
  return !isExact && stdin !== undefined && input.length > 0 && peek(stdin).equals(input)
}
