import type { StageFacts } from '../../copy/events.ts'

/** All samples of a report together: a pull of an hour stays at some hundred kilobytes, and each lane has more points than a screen has columns. */
const pointsMaxDefault = 12_000
/** What a pull samples at; thinning starts from there. */
const stepMsMin = 250
/** Stages of one layer. Ours are five; a name that changes all the time must not fill the memory. */
const stagesMax = 16

/** The samples of one stage, column by column, from old to new. Byte counts are sums since the stage's beginning. */
export interface StageSeries {
  readonly name: string
  readonly atMs: number[]
  readonly bytesIn: number[]
  readonly bytesOut: number[]
  readonly waitsFor: StageFacts['waitsFor'][]
}

/** Keeps samples in bounded number: when there are too many, every second one goes, and new ones are taken half as often. */
export class Samples {
  readonly #pointsMax: number
  readonly #all: StageSeries[] = []
  #points = 0
  #stepMs = 0

  constructor(pointsMax = pointsMaxDefault) {
    this.#pointsMax = pointsMax
  }

  get points(): number {
    return this.#points
  }

  /** Takes in one sample of all stages of a layer. `series` are those of the layer, and get the stages that are new. */
  add(series: StageSeries[], atMs: number, stages: readonly StageFacts[]): void {
    for (const stage of stages) {
      const found = series.find(({ name }) => name === stage.name) ?? this.#open(series, stage.name)
      if (found !== undefined) this.#put(found, atMs, stage)
    }
    if (this.#points > this.#pointsMax) this.#thin()
  }

  #open(series: StageSeries[], name: string): StageSeries | undefined {
    if (series.length >= stagesMax) return undefined
    const made: StageSeries = { name, atMs: [], bytesIn: [], bytesOut: [], waitsFor: [] }
    series.push(made)
    this.#all.push(made)
    return made
  }

  /** The newest point is always kept, and moves along until it is a step away from the one before it. */
  #put(series: StageSeries, atMs: number, { bytesIn, bytesOut, waitsFor }: StageFacts): void {
    const { length } = series.atMs
    const isNear = length > 1 && (series.atMs[length - 1] ?? 0) - (series.atMs[length - 2] ?? 0) < this.#stepMs
    const at = isNear ? length - 1 : length
    if (at === length) this.#points++
    series.atMs[at] = atMs
    series.bytesIn[at] = bytesIn
    series.bytesOut[at] = bytesOut
    series.waitsFor[at] = waitsFor
  }

  #thin(): void {
    this.#stepMs = Math.max(stepMsMin, this.#stepMs) * 2
    this.#points = 0
    for (const series of this.#all) {
      const last = series.atMs.length - 1
      for (const column of [series.atMs, series.bytesIn, series.bytesOut, series.waitsFor] as unknown[][]) {
        const kept = column.filter((_, index) => index % 2 === 0 || index === last)
        column.splice(0, column.length, ...kept)
      }
      this.#points += series.atMs.length
    }
  }
}
