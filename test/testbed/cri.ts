/** Kubernetes' view of a containerd's images: the part of the CRI's ImageService (k8s.io/cri-api, runtime.v1) that a kubelet asks before it starts a container. */
import { Client, credentials } from '@grpc/grpc-js'
import protobuf from 'protobufjs'

const proto = `
syntax = "proto3";
message ImageSpec { string image = 1; }
message ImageRequest { ImageSpec image = 1; }
message Image { string id = 1; repeated string repoTags = 2; repeated string repoDigests = 3; }
message StatusResponse { Image image = 1; }
message PullResponse { string imageRef = 1; }`

export interface CriImage {
  readonly id: string
  readonly repoTags: readonly string[]
  readonly repoDigests: readonly string[]
}

export class Cri implements Disposable {
  readonly #client: Client
  readonly #types = protobuf.parse(proto, { keepCase: true }).root

  constructor(socket: string) {
    const options = { 'grpc.default_authority': 'localhost' }
    this.#client = new Client(`unix:${socket}`, credentials.createInsecure(), options)
  }

  /** What a kubelet finds under a name, undefined if it would have to pull. */
  async findImage(image: string): Promise<CriImage | undefined> {
    const { image: found } = await this.#call<{ image?: CriImage }>('ImageStatus', 'StatusResponse', image)
    return found
  }

  /** @returns the image's ID */
  async pull(image: string): Promise<string> {
    return (await this.#call<{ imageRef: string }>('PullImage', 'PullResponse', image)).imageRef
  }

  [Symbol.dispose](): void {
    this.#client.close()
  }

  async #call<Answer>(method: string, answer: string, image: string): Promise<Answer> {
    const [request, response] = [this.#types.lookupType('ImageRequest'), this.#types.lookupType(answer)]
    return await new Promise((resolve, reject) => {
      this.#client.makeUnaryRequest(
        `/runtime.v1.ImageService/${method}`,
        message => Buffer.from(request.encode(request.create(message)).finish()),
        bytes => response.toObject(response.decode(bytes), { arrays: true }) as Answer,
        { image: { image } },
        { deadline: Date.now() + 60_000 },
        (error, value) => (error === null && value !== undefined ? resolve(value) : reject(error)),
      )
    })
  }
}
