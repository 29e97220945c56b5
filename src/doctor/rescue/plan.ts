/** The decision of a rescue, from facts alone: which layer it is, and from which byte on its stream is owed; or why that is not sure. */
import { type EnginePosition, type Examined, tellingEnd } from './examine.ts'
import { Refusal } from './refusal.ts'
import type { Subject } from './subject.ts'

/** From where the stream is owed, and what proves it. */
interface Position {
  readonly bytes: number
  /** The engine's file that shows it, where there is one. */
  readonly file: EnginePosition['file'] | undefined
  readonly evidence: string
}

export interface Identified extends Examined {
  /** It is seen that the decompressor was given it, to the last byte: see `wasGiven`. */
  readonly isGiven: boolean
}

export interface Choice extends Identified {
  readonly position: Position
}

export interface Known extends Pick<Subject, 'written' | 'isExact' | 'mayComplain' | 'read' | 'inputWaiting'> {
  /** `written` went to its output, whatever ran in this process before. */
  readonly isOutputAlone: boolean
  /** How many other decompressors its engine has, of whatever layers: each may have a file open. */
  readonly otherLines: number
  /** It has closed its output: nothing can be written there any more. */
  readonly hasClosed: boolean
  /** Several decompressors of its engine may work on one layer. Not so in dockerd. Either unpacks what is no layer, too, and whose digest nobody checks: docker import, ADD of an archive, ctr images import. */
  readonly sharesLayers: boolean
  /** By the word of its engine some of its decompressors have no layer of a pull: what a client has sent may hold the layer, and so its end. */
  readonly mayBeSent: boolean
}

/** Fewer bytes of a stream may stand in it at many places. */
const tellingBytes = 4096
/** What an engine has read of a layer and not handed over yet, in its own buffers. */
const heldMax = 1024 * 1024
/** What a program and its loader read before it reads its input: libraries, settings, the script that starts it. */
const loadedMax = 256 * 1024

/** Programs write whole buffers until they come to the end, of a multiple of so many bytes. */
const bufferUnit = 4096

/** What an earlier rescue left behind. */
export interface Resumption {
  readonly position: number
  /** Of the layer that it wrote of: no other one goes on there. */
  readonly digest: string | undefined
}

/**
 * @param examined every layer that may be the one, decoded
 * @param resumption of an earlier rescue, if there was one that wrote
 * @throws Refusal if not exactly one layer and one position are left
 */
export function choose(known: Known, examined: readonly Identified[], resumption: Resumption | undefined): Choice {
  const [first] = examined
  if (first === undefined) throw new Refusal('RESCUE_NO_LAYER', 'the engine has no compressed layer open')
  const isBegun = ({ digest }: Examined) => resumption?.digest === undefined || digest === resumption.digest
  const possible = examined.filter(layer => isBegun(layer) && mayBeItsInput(known, layer))
  if (possible.length === 0)
    throw new Refusal(
      'RESCUE_NO_LAYER',
      `what it has read, and what waits in its input, is of no layer that is to be had: ${examined.map(({ layer }) => layer.name).join(', ')}`,
    )
  const sure = possible.filter(layer => resumption?.digest === layer.digest || isItsInput(known, layer))
  const [unsure] = possible
  if (sure.length === 0)
    throw new Refusal(
      'RESCUE_NO_LAYER',
      `it is not seen that it was given ${unsure?.layer.name}: what tells that from all others neither waits for it alone nor was found in its memory`,
    )
  const given = sure.filter(({ isGiven }) => isGiven)
  const outcomes = (given.length > 0 ? given : sure).map(layer => outcomeOf(known, layer, resumption?.position))
  const choices = outcomes.filter((outcome): outcome is Choice => !(outcome instanceof Refusal))
  const [choice, another] = choices
  const names = sure.map(({ layer }) => layer.name).join(', ')
  if (another !== undefined)
    throw new Refusal('RESCUE_LAYER_UNCLEAR', `${choices.length} layers come into question: ${names}`)
  if (choice !== undefined) return choice
  throw outcomes.find(outcome => outcome instanceof Refusal) ?? new Refusal('RESCUE_LAYER_UNCLEAR', names)
}

/**
 * An engine may run the same program for something that is no layer, and whose digest nobody checks (docker import, ADD of an archive): the names in it prove nothing. All that the
 * layer has must have been handed over: what still waits stands in it, the rest was read. Where the engine's place in the file can be seen, it is behind that.
 */
function mayBeItsInput({ read, inputWaiting }: Known, { inputAt, layer }: Examined): boolean {
  const { size, position } = layer
  if (inputWaiting === 0) return read >= size && (position === undefined || position === size)
  return inputAt !== undefined && (position === undefined || position >= inputAt + inputWaiting)
}

/**
 * Lengths and names may be those of something else: what is unpacked for nobody's digest would get the rest of a layer. So of a layer that the engine has not open the end must be seen, which has the
 * checksum of all of it; but an archive that a client sends may hold the layer as it is. Of one that it has open enough bytes must wait: in a dockerd for this line alone, and where it has read to; in others, where none wait, a file that is unpacked must show how far it is. One that
 * has closed its output, after as many bytes as the layer has, gets none: it was that layer, or something else that ended there, unless it was cut, after whole buffers.
 */
function isItsInput(known: Known, examined: Identified): boolean {
  if (examined.isGiven && !known.mayBeSent) return true
  if (hasGivenAll(known, examined)) return true
  if (examined.layer.isFetched) return false
  const waits = known.inputWaiting >= tellingEnd
  if (known.sharesLayers) return waits || positionsShown(known, examined).length > 0
  const { layer, inputAt, rivals } = examined
  const handed = layer.position === undefined || layer.position - (inputAt ?? 0) - known.inputWaiting <= heldMax
  return waits && rivals === 0 && handed
}

function hasGivenAll(known: Known, { layer, total }: Identified): boolean {
  const { hasClosed, isExact, written, read, sharesLayers, otherLines } = known
  if (!hasClosed || !isExact || written !== total) return false
  const isAlone = !layer.isFetched && (sharesLayers || otherLines === 0)
  return read - layer.size <= loadedMax && (isAlone || total % bufferUnit !== 0)
}

/** Files of the engine that show where it is: of a count that is exact, those that agree with it. */
function positionsShown(known: Known, examined: Examined): EnginePosition[] {
  const { written } = known
  const isExact = isCountExact(known, examined)
  return examined.enginePositions.filter(({ position }) => (isExact ? position === written : position <= written))
}

/** Complaints make a count more than the engine can have: where the two agree there were none, and where they do not the engine's file alone tells how much came. */
function isCountExact({ written, isExact, mayComplain }: Known, { enginePositions }: Examined): boolean {
  return isExact && (!mayComplain || enginePositions.some(({ position }) => position === written))
}

function outcomeOf(known: Known, layer: Identified, resumeAt: number | undefined): Choice | Refusal {
  try {
    const position = resumeAt === undefined ? findPosition(known, layer) : resumed(resumeAt)
    if (position.bytes > layer.total)
      throw unproven(`${number(position.bytes)} bytes are more than the layer has: ${number(layer.total)}`)
    return { ...layer, position }
  } catch (error) {
    if (error instanceof Refusal) return error
    throw error
  }
}

function resumed(bytes: number): Position {
  return { bytes, file: undefined, evidence: 'the journal of an earlier rescue says how far that one came' }
}

/**
 * The kernel counts what the process wrote, but to all that it has open. What its engine has written to the file that it unpacks tells to the byte how
 * much came through; both have to agree.
 */
function findPosition(known: Known, layer: Examined): Position {
  const { written } = known
  const possible = layer.enginePositions.filter(({ position }) => position <= written)
  const isExact = isCountExact(known, layer)
  if (hasTakenNothing({ ...known, isExact }, layer)) return beginning({ ...known, isExact }, layer)
  const shown = positionsShown(known, layer)
  const [first] = shown
  if (first !== undefined) return shownBy(first, shown, { isExact, others: layer.others })
  const [other] = possible
  if (other !== undefined && possible.length > layer.others)
    throw unproven(
      `it wrote ${number(written)} bytes, but its engine is at byte ${number(other.position)} by ${other.file.path}`,
    )
  if (!isExact && written === 0) checkExplained(known, layer)
  if (!isExact && written > 0)
    throw unproven(
      `it wrote ${number(written)} bytes, not all to its output, and the engine has no file open that tells how many came through`,
    )
  if (!known.isOutputAlone && written > 0 && written < layer.total)
    throw unproven(
      `it wrote ${number(written)} bytes, but the engine has no file open that shows so many, and what ran in this process may have written to something else before`,
    )
  if (!hasReadAsMuch(known, layer))
    throw unproven(`it has read ${number(known.read)} bytes, which is not what it would have read of this layer`)
  if (layer.contents.some(([start, end]) => start <= written && written < end))
    throw unproven(`after ${number(written)} bytes the engine would have a file of the layer open, and has none`)
  return {
    bytes: written,
    file: undefined,
    evidence: `it has written ${number(written)} bytes, and has nothing but its output to write to`,
  }
}

/** What nobody has written to, as its room tells, has given what its own program wrote: nothing, by an exact count. By any other it may have written something all the same: then the engine has a file open that no other line explains. */
function beginning(known: Known, layer: Examined): Position {
  if (!known.isExact) checkExplained(known, layer)
  const evidence = 'it has not taken a byte of its input: what waits there is the beginning of the layer'
  return { bytes: 0, file: undefined, evidence }
}

/** @throws Refusal if the engine has a file of the layer open that no other line can have filled */
function checkExplained({ otherLines }: Known, { enginePositions }: Examined): void {
  const [first] = enginePositions
  if (first !== undefined && enginePositions.length > otherLines)
    throw unproven(
      `it seems to have given nothing, but its engine is at byte ${number(first.position)} by ${first.file.path}`,
    )
}

function hasTakenNothing({ written, isExact, inputWaiting }: Known, { inputAt, layer }: Examined): boolean {
  return inputAt === 0 && inputWaiting >= Math.min(tellingBytes, layer.size) && (!isExact || written === 0)
}

/** Where no file of the engine tells which layer it is: what has been taken out of the input is all of the layer but what still waits there. */
function hasReadAsMuch({ read, inputWaiting }: Known, { inputAt, layer }: Examined): boolean {
  const taken = inputWaiting === 0 ? layer.size : inputAt
  return taken !== undefined && read >= taken && read - taken <= loadedMax
}

/**
 * Several pulls may unpack the same layer in one engine: as long as all its files are at the same byte, it is of no importance whose is whose.
 * @param shown all open files that may be its own, `first` among them
 */
function shownBy(
  first: EnginePosition,
  shown: readonly EnginePosition[],
  { isExact, others }: Pick<Known, 'isExact'> & Pick<Examined, 'others'>,
): Position {
  const { file, position } = first
  if (shown.some(other => other.position !== position))
    throw unproven(`${shown.length} open files of the engine have names that the layer has`)
  if (!isExact && shown.length <= others)
    throw unproven('another decompressor works on the same layer, and whose file is open cannot be told')
  if (!isExact && shown.some(({ file }) => file.position === 0))
    throw unproven(`the engine has nothing of ${file.path} yet that could be compared with the layer`)
  if (!isExact && shown.some(({ isAtEnd }) => isAtEnd))
    throw unproven(`the engine has all of ${file.path}: how much of what follows it has cannot be seen`)
  const counted = isExact ? ', which is what the decompressor wrote' : ''
  return {
    bytes: position,
    file,
    evidence: `the engine has written ${number(file.position)} bytes to ${file.path}: it is at byte ${number(position)} of the layer${counted}`,
  }
}

function unproven(message: string): Refusal {
  return new Refusal('RESCUE_POSITION_UNPROVEN', message)
}

function number(value: number): string {
  return value.toLocaleString('en-US')
}
