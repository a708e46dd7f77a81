// Generated from openapi/openapi.json by `npm run generate:api`; do not edit.

export interface paths {
    "/healthz": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        /** Says that the process lives. */
        get: operations["healthz"];
        put?: never;
        post?: never;
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/metrics": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        /** Gives metrics in the text format of Prometheus. */
        get: operations["get_metrics"];
        put?: never;
        post?: never;
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/readyz": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        /** Says whether requests can be served: the backbone is loaded and the store writable. */
        get: operations["readyz"];
        put?: never;
        post?: never;
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/v1/adapters": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        /** Lists adapters by name. */
        get: operations["list_adapters"];
        put?: never;
        /** Stores a generation of an adapter: structure and delta weights, strictly checked. */
        post: operations["create_adapter"];
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/v1/adapters/{name}": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        /** Gives an adapter with its generations and aliases. */
        get: operations["get_adapter"];
        put?: never;
        post?: never;
        /** Deletes an adapter with its generations and aliases; structures stay. */
        delete: operations["delete_adapter"];
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/v1/adapters/{name}/aliases/{alias}": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        get?: never;
        /** Moves an alias to a generation, or makes it. */
        put: operations["put_alias"];
        post?: never;
        /** Deletes an alias; the generation stays. Without `latest` the adapter's bare name is refused until it is set again. */
        delete: operations["delete_alias"];
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/v1/adapters/{name}/generations/{digest}": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        get?: never;
        put?: never;
        post?: never;
        /** Deletes a generation that no alias stands for. */
        delete: operations["delete_generation"];
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/v1/adapters/{name}/generations/{digest}/weights": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        /** Downloads a generation's delta weights. */
        get: operations["get_weights"];
        put?: never;
        post?: never;
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/v1/backbone": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        /** Says what is served. */
        get: operations["get_backbone"];
        put?: never;
        post?: never;
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/v1/completions": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        get?: never;
        put?: never;
        /** Continues prompts. */
        post: operations["create_completion"];
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/v1/evaluations": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        get?: never;
        put?: never;
        /** Scores an adapter or the bare backbone on a task. */
        post: operations["create_evaluation"];
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/v1/jobs": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        /** Lists jobs, newest first. */
        get: operations["list_jobs"];
        put?: never;
        post?: never;
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/v1/jobs/{id}": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        /** Gives a job. */
        get: operations["get_job"];
        put?: never;
        post?: never;
        /** Deletes a job that has ended. */
        delete: operations["delete_job"];
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/v1/jobs/{id}/cancel": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        get?: never;
        put?: never;
        /** Ends a job: at once if it waits, at its next step if it runs. */
        post: operations["cancel_job"];
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/v1/jobs/{id}/events": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        /**
         * Watches a job: `state` events carry a Job (the first says how it stands, the last how it ended), `progress` events a
         *     Progress.
         */
        get: operations["job_events"];
        put?: never;
        post?: never;
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/v1/jobs/{id}/resume": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        get?: never;
        put?: never;
        /** Puts a failed or cancelled job back into the queue; it goes on from its checkpoint. */
        post: operations["resume_job"];
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/v1/models": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        /** Lists the backbone and the adapters that fit it. */
        get: operations["list_models"];
        put?: never;
        post?: never;
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/v1/predictions": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        get?: never;
        put?: never;
        /** Predicts labels. */
        post: operations["create_prediction"];
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/v1/retrains": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        get?: never;
        put?: never;
        /** Trains a given structure on a task. */
        post: operations["create_retrain"];
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/v1/searches": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        get?: never;
        put?: never;
        /** Searches a structure on a task. */
        post: operations["create_search"];
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/v1/structures": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        /** Lists structures, newest first. */
        get: operations["list_structures"];
        put?: never;
        /** Stores a structure: 201 if it is new, 200 if it was known. */
        post: operations["create_structure"];
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/v1/structures/{id}": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        /** Gives a structure with its provenance, and with what serving it takes and shares. */
        get: operations["get_structure"];
        put?: never;
        post?: never;
        /** Deletes a structure that no adapter uses. */
        delete: operations["delete_structure"];
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/v1/structures/{id}/choices": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        get?: never;
        put?: never;
        /**
         * Chooses anew from the p of a structure's newest search and stores the structure: 201 if it is new, 200 if it was known. A choice
         *     that is the structure itself gives it as it is.
         */
        post: operations["create_choice"];
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/v1/structures/{id}/front": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        /**
         * The choices from a search's p of which none has more Σp and less cost than another, from most Σp to least cost: those that are
         *     the best at some weight of the cost. Of more than 32, those that cut the widest gaps of the cost.
         */
        get: operations["get_front"];
        put?: never;
        post?: never;
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/v1/tasks": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        /** Lists tasks by name. */
        get: operations["list_tasks"];
        put?: never;
        post?: never;
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/v1/tasks/{name}": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        /** Gives a task without its rows. */
        get: operations["get_task"];
        /** Stores a task, in place of the one of that name. */
        put: operations["put_task"];
        post?: never;
        /** Deletes a task that is not built in. */
        delete: operations["delete_task"];
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/v1/transfers": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        /** Lists transfers with their scores. */
        get: operations["list_transfers"];
        put?: never;
        /** Trains a source task's structure on a target task. */
        post: operations["create_transfer"];
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
}
export type webhooks = Record<string, never>;
export interface components {
    schemas: {
        /** @description A servable thing: a name with its generations and aliases. */
        Adapter: {
            /** @description The generation that each alias stands for. */
            aliases: {
                [key: string]: components["schemas"]["Digest"];
            };
            /**
             * Format: date-time
             * @description When its first generation was stored, in UTC.
             */
            created: string;
            /** @description Its generations, oldest first. */
            generations: components["schemas"]["Generation"][];
            /** @description Its name. */
            name: string;
        };
        /** @description One adapter's predictions. */
        AdapterPredictions: {
            /** @description The adapter as requested. */
            adapter: string;
            /** @description Digest of the generation that answered; null for the bare backbone. */
            adapter_generation?: string | null;
            /** @description One for each input. */
            predictions: components["schemas"]["Prediction"][];
            /** @description The task. */
            task: string;
        };
        /** @description The parts of an upload, in any order. */
        AdapterUpload: {
            /** @description Aliases to move to the new generation, with commas between; `latest` if absent. */
            aliases?: string | null;
            /** @description `true` to serve them though they were trained on another backbone of the same shape. */
            allow_backbone_mismatch?: string | null;
            /** @description Name of the adapter. */
            name: string;
            /** @description A structure document (JSON), or the id of a stored one. */
            structure: string;
            /** @description Task that they were trained on; the one that their metadata names as `task` and `task_digest` if absent. */
            task?: string | null;
            /**
             * Format: binary
             * @description Delta weights: a safetensors file with `backbone_digest` in its metadata.
             */
            weights: string;
        };
        /** @description Where an alias is to point. */
        AliasTarget: {
            /** @description Digest of one of the adapter's generations. */
            generation: components["schemas"]["Digest"];
        };
        /** @description What is known of the served backbone without touching its tensors. */
        Backbone: {
            /** @description Device that computes, such as `cpu` or `cuda:0`. */
            device: string;
            /** @description Digest of its weights, to which delta weights bind. */
            digest: string;
            /** @description Name that requests may give as `model`. */
            name: string;
            /** @description Parameters, tied weights once. */
            parameters: number;
            /** @description Its sizes. */
            shape: components["schemas"]["Shape"];
            /** @description `f32`, or `int8`: the numbers in which its linear maps are held to serve. */
            weights: string;
        };
        /**
         * @description Parameters, a ratio of the backbone, or a share of the search space
         * @example 102458
         * @example 1.389e-4
         * @example 5.447%
         */
        Budget: string;
        /** @description A search's structure at another budget. */
        BudgetResult: {
            /** @description Parameters allowed. */
            budget: number;
            /** @description Why the budget is not filled, or not by what the search kept. */
            note?: string | null;
            /** @description Parameters of the structure. */
            parameters: number;
            /** @description The structure. */
            structure: string;
        };
        /** @description A text for one prompt, or a part of it. */
        Choice: {
            finish_reason?: components["schemas"]["FinishReason"] | null;
            /** @description Which text: text k of prompt i, both counted from 0, is i · n + k. */
            index: number;
            logprobs?: components["schemas"]["Logprobs"] | null;
            /** @description The text. */
            text: string;
        };
        /** @description How to choose anew from the p of a structure's newest search. */
        ChoiceRequest: {
            budget?: components["schemas"]["Budget"] | null;
            objective?: components["schemas"]["Objective"] | null;
            /** @description How modules are chosen. */
            selection?: components["schemas"]["Selection"];
        };
        /** @description A column by name, or by place counted from 0. */
        Column: number | string;
        /** @description The text made. */
        Completion: {
            /** @description Digest of the generation that answered; null for the bare backbone. */
            adapter_generation?: string | null;
            /** @description `n` for each prompt: those of the first one, then those of the next. */
            choices: components["schemas"]["Choice"][];
            /**
             * Format: int64
             * @description When, in seconds since 1970.
             */
            created: number;
            /** @description Id of the reply. */
            id: string;
            /** @description The model as requested. */
            model: string;
            /** @description Always `text_completion`. */
            object: string;
            usage?: components["schemas"]["Usage"] | null;
        };
        /** @description What to continue. T5 reads the prompt with its encoder and writes the text with its decoder. */
        CompletionRequest: {
            /** @description Runs of token ids that are not made. */
            bad_words_ids?: number[][] | null;
            /** @description Token ids that are not the first. */
            begin_suppress_tokens?: number[] | null;
            /** @description Only as many as `n`. */
            best_of?: number | null;
            early_stopping?: components["schemas"]["EarlyStop"] | null;
            /** @description Only false: the prompt is no part of the text. */
            echo?: boolean | null;
            /** @description No run of so many of the prompt's tokens is made; 0 for no limit. */
            encoder_no_repeat_ngram_size?: number | null;
            /**
             * Format: double
             * @description More than 1 makes the prompt's tokens more likely.
             */
            encoder_repetition_penalty?: number | null;
            /**
             * Format: int32
             * @description The first token.
             */
            forced_bos_token_id?: number | null;
            /**
             * Format: int32
             * @description The last token where `max_tokens` is reached.
             */
            forced_eos_token_id?: number | null;
            /**
             * Format: double
             * @description Subtracted from a token's score as often as it was made.
             */
            frequency_penalty?: number | null;
            /**
             * Format: double
             * @description Exponent of the length by which a finished beam's score is divided.
             */
            length_penalty?: number | null;
            /** @description What to add to the scores of tokens, −100 to 100, by their ids. */
            logit_bias?: {
                [key: string]: number;
            } | null;
            /** @description Tell each token's log-probability and so many of the likeliest ones of its step, 0 to 20. */
            logprobs?: number | null;
            /** @description Most tokens to make for each text; if absent what the backbone's generation_config.json says, or 64. */
            max_tokens?: number | null;
            /** @description Tokens at least. */
            min_new_tokens?: number | null;
            /**
             * Format: double
             * @description Draw among tokens with this part of the likeliest one's probability; needs `temperature`.
             */
            min_p?: number | null;
            /** @description An adapter (`name`, `name@alias`, `name@digest`), or the backbone's name. */
            model: string;
            /** @description Texts for each prompt, 1 if absent: drawn ones, or the best of as many beams. */
            n?: number | null;
            /** @description No run of so many tokens comes twice; 0 for no limit. */
            no_repeat_ngram_size?: number | null;
            /** @description Beams, 1 if absent. Their texts are known, and sent in a stream, at the end of the search; a stop text cuts them then. */
            num_beams?: number | null;
            /**
             * Format: double
             * @description Subtracted from the score of every token that was made.
             */
            presence_penalty?: number | null;
            /** @description One text or several, or their token ids. */
            prompt: components["schemas"]["Prompt"];
            /**
             * Format: double
             * @description More than 1 makes tokens less likely that were made.
             */
            repetition_penalty?: number | null;
            /**
             * Format: int64
             * @description Of the draws; another one each time if absent. The same seed gives the same texts, up to draws that rounding decides.
             */
            seed?: number | null;
            stop?: components["schemas"]["Stop"] | null;
            /** @description Whether to send the text as it is made. */
            stream?: boolean | null;
            stream_options?: components["schemas"]["StreamOptions"] | null;
            /** @description Not available. */
            suffix?: string | null;
            /** @description Token ids that are never made. */
            suppress_tokens?: number[] | null;
            /**
             * Format: double
             * @description Draws tokens, their scores divided by it. Absent or 0: the likeliest token is taken, unlike OpenAI's default of 1.
             */
            temperature?: number | null;
            /**
             * Format: double
             * @description Seconds after which the request is given up with 504; without end if absent.
             */
            timeout?: number | null;
            /**
             * @description Not in OpenAI's interface, as all that follows; names and meanings are those of transformers' `GenerationConfig`.
             *     Draw among so many of the likeliest tokens, 0 (if absent) for all; needs `temperature`.
             */
            top_k?: number | null;
            /**
             * Format: double
             * @description Draw among the likeliest tokens that together have this probability; needs `temperature`.
             */
            top_p?: number | null;
            /**
             * Format: double
             * @description Draw among the most typical tokens that together have this probability; needs `temperature`.
             */
            typical_p?: number | null;
            /** @description Without effect. */
            user?: string | null;
        };
        /** @description A file, or a file whose rows all have one label. */
        DataFile: string | components["schemas"]["LabelledFile"];
        /** @description What a task asks: how a row becomes a source text and a target text, and how answers are scored. */
        Definition: {
            /** @description Where the rows stand, in alternative layouts; left out once they are read. */
            data?: components["schemas"]["Layout"][];
            /** @description One sentence for people. */
            description?: string;
            /** @description How answers are scored. */
            metric: components["schemas"]["Metric"];
            /** @description Name: lower-case letters, digits, `-`, `_` and `.`, at most 64. */
            name: string;
            /** @description The label (value or word) that F1 counts as positive. */
            positive?: string | null;
            /** @description What the target text is. */
            target: components["schemas"]["Target"];
            /** @description The source text, with a `{field}` where each field goes. */
            template: string;
        };
        /** @description The JSON form of a delta module; fields that a kind does not have are refused. */
        DeltaModule: {
            /**
             * Format: double
             * @description LoRA's scaling numerator (default 16).
             */
            alpha?: number | null;
            /** @description The adapters' inner width. */
            bottleneck?: number | null;
            /** @description The kind. */
            kind: components["schemas"]["KindName"];
            /** @description Hugging Face path of the place. */
            position: string;
            /** @description LoRA's or the low-rank adapter's rank (default 1). */
            rank?: number | null;
        };
        /**
         * @description By which gates the dev score that chooses the best α is measured.
         * @enum {string}
         */
        DevGates: "soft" | "hard";
        /** @description First 128 bits of a BLAKE3 hash, in hexadecimal */
        Digest: string;
        /** @description `early_stopping`. */
        EarlyStop: boolean | components["schemas"]["Never"];
        /**
         * @description How text is encoded; a byte order mark is skipped.
         * @enum {string}
         */
        Encoding: "utf-8" | "latin-1";
        /** @description The body of every error: `{"error": {…}}`. */
        ErrorBody: {
            /** @description What went wrong. */
            error: components["schemas"]["ErrorObject"];
        };
        /** @description What went wrong, for programs (`code`, `param`) and for people (`message`). */
        ErrorObject: {
            /** @description Stable code, such as `structure_not_found`. */
            code: string;
            /** @description Names the thing and the fix. */
            message: string;
            /** @description The field, query parameter or part at fault, if it is one. */
            param?: string | null;
            /** @description The same as the `x-request-id` header. */
            request_id: string;
            /** @description Class of the error, as OpenAI's API names them. */
            type: string;
        };
        /** @description Scoring of an adapter, or of the bare backbone, on a task. */
        EvaluationRequest: {
            /** @description Adapter reference; null for the bare backbone. */
            adapter?: string | null;
            /** @description Digest of the backbone's weights; filled in when the job is accepted, so that it never goes on over another one. */
            backbone_digest?: string | null;
            /** @description Tokens of a source text; longer ones are cut. */
            max_source_tokens?: number;
            /** @description How many of them; all if absent. */
            rows?: number | null;
            /** @description Rows to score on; `test` if absent. */
            split?: components["schemas"]["Split"];
            /** @description Task to score on. */
            task: string;
            /** @description Digest of the task's rows and template; filled in when the job is accepted. */
            task_digest?: string | null;
        };
        /** @description What an evaluation gives. */
        EvaluationResult: {
            /** @description Generation that was scored; null for the bare backbone. */
            generation?: string | null;
            /** @description Rows scored. */
            rows: number;
            /** @description The score. */
            score: components["schemas"]["Score"];
            /**
             * Format: double
             * @description Seconds.
             */
            seconds: number;
        };
        /** @description The files of each split; what is left out is made from the others. */
        Files: {
            /** @description Dev, the official validation. */
            dev?: components["schemas"]["DataFile"][];
            /** @description Labelled test. */
            test?: components["schemas"]["DataFile"][];
            /** @description Train: at least one file. */
            train: components["schemas"]["DataFile"][];
        };
        /**
         * @description Why a sequence ended.
         * @enum {string}
         */
        FinishReason: "stop" | "length";
        /**
         * @description How a file is written.
         * @enum {string}
         */
        Format: "tsv" | "csv" | "jsonl" | "lines" | "labelled_lines";
        /** @description One choice on a Pareto front. */
        FrontPoint: {
            /**
             * Format: double
             * @description Their cost, in the unit of what was asked.
             */
            cost: number;
            /** @description Number of modules. */
            modules: number;
            /** @description Their parameters. */
            parameters: number;
            /**
             * Format: double
             * @description Σp of its modules.
             */
            probability: number;
            /**
             * Format: double
             * @description A weight of the cost at which it is the best choice: `objective.weight` of a choice.
             */
            weight: number;
        };
        /** @description One immutable state of an adapter: a structure with delta weights for one task over one backbone. */
        Generation: {
            /** @description Whether it may be served on a backbone of the same shape with other weights. */
            allow_backbone_mismatch: boolean;
            /** @description Digest of the backbone that the weights were trained on. */
            backbone_digest: string;
            /**
             * Format: date-time
             * @description When it was stored, in UTC.
             */
            created: string;
            /** @description Digest of structure, weights, backbone, task and `allow_backbone_mismatch`. */
            digest: components["schemas"]["Digest"];
            /** @description Job that made it. */
            job?: string | null;
            /** @description Trained parameters. */
            parameters: number;
            score?: components["schemas"]["Score"] | null;
            /** @description Id of the structure. */
            structure: string;
            task?: components["schemas"]["TaskRef"] | null;
            /** @description Blob of the delta weights, a safetensors file. */
            weights: components["schemas"]["Digest"];
            /**
             * Format: int64
             * @description Size of that blob in bytes.
             */
            weights_bytes: number;
        };
        /** @description That all is well. */
        Health: {
            /** @description `ok` or `ready`. */
            status: string;
        };
        /** @description A search, re-training, transfer or evaluation. */
        Job: {
            /** @description Whether it was asked to end and has not yet. */
            cancel_requested: boolean;
            /**
             * Format: date-time
             * @description When it was accepted, in UTC.
             */
            created: string;
            error?: components["schemas"]["JobError"] | null;
            /**
             * Format: date-time
             * @description When it ended, in UTC.
             */
            finished?: string | null;
            /** @description Its id; ids sort by the time of creation. */
            id: string;
            /** @description What it does. */
            kind: components["schemas"]["JobKind"];
            progress?: components["schemas"]["Progress"] | null;
            /** @description The request as accepted, defaults filled in. */
            request: Record<string, never>;
            /** @description What came of it. */
            result?: Record<string, never> | null;
            /**
             * Format: date-time
             * @description When it last began to run, in UTC.
             */
            started?: string | null;
            /** @description How far it is. */
            state: components["schemas"]["JobState"];
        };
        /** @description Why a job failed. */
        JobError: {
            /** @description Stable code. */
            code: string;
            /** @description Message that names the thing and the fix. */
            message: string;
        };
        /**
         * @description What a job does.
         * @enum {string}
         */
        JobKind: "search" | "retrain" | "transfer" | "evaluation";
        /**
         * @description How far a job is.
         * @enum {string}
         */
        JobState: "queued" | "running" | "succeeded" | "failed" | "cancelled";
        /**
         * @description A kind without its hyper-parameters, as users write it.
         * @enum {string}
         */
        KindName: "lora" | "lnfit" | "bitfit" | "low_rank_adapter" | "adapter" | "parallel_adapter";
        /** @description A label as it stands in the data, and the word that is its target text. Several values may share a word. */
        Label: {
            /** @description As in the data. */
            value: string;
            /** @description The target text. */
            word: string;
        };
        /** @description A file whose rows all have one label. */
        LabelledFile: {
            /** @description The label's value. */
            label: string;
            /** @description The file. */
            path: string;
        };
        /** @description A label with its probability among all labels. */
        LabelScore: {
            /** @description The label word, or candidate number. */
            label: string;
            /**
             * Format: double
             * @description Its probability.
             */
            probability: number;
        };
        /** @description Files of rows, and how to read them. Paths are relative to the data folder, or to `folder` inside it. */
        Layout: {
            /** @description The column of each field; a field left out stands in the column of its own name. */
            columns?: {
                [key: string]: components["schemas"]["Column"];
            };
            /** @description Between columns: by default a tab for `tsv`, a comma for `csv`. */
            delimiter?: string | null;
            /** @description How the text is encoded. */
            encoding?: components["schemas"]["Encoding"];
            /** @description The files of each split. */
            files: components["schemas"]["Files"];
            /** @description Folder inside the data folder where the files may also stand. */
            folder?: string | null;
            /** @description How a file is written. */
            format: components["schemas"]["Format"];
            /** @description Whether the first line names the columns (`tsv` and `csv`). */
            header?: boolean;
            label?: components["schemas"]["Column"] | null;
            /** @description Only the part of the label before this character counts (`:` makes `DESC:manner` `DESC`). */
            label_until?: string | null;
            /** @description Whether `"` quotes a cell: by default in `csv` only, for GLUE's TSV files have lone quotes. */
            quoting?: boolean | null;
            /** @description How splits that have no file are made. */
            splits?: components["schemas"]["SplitRule"];
        };
        /** @description A page of a list. */
        List_Adapter: {
            /** @description The entries. */
            data: {
                /** @description The generation that each alias stands for. */
                aliases: {
                    [key: string]: components["schemas"]["Digest"];
                };
                /**
                 * Format: date-time
                 * @description When its first generation was stored, in UTC.
                 */
                created: string;
                /** @description Its generations, oldest first. */
                generations: components["schemas"]["Generation"][];
                /** @description Its name. */
                name: string;
            }[];
            /** @description Where the next page starts; null at the end. */
            next_cursor?: string | null;
        };
        /** @description A page of a list. */
        List_FrontPoint: {
            /** @description The entries. */
            data: {
                /**
                 * Format: double
                 * @description Their cost, in the unit of what was asked.
                 */
                cost: number;
                /** @description Number of modules. */
                modules: number;
                /** @description Their parameters. */
                parameters: number;
                /**
                 * Format: double
                 * @description Σp of its modules.
                 */
                probability: number;
                /**
                 * Format: double
                 * @description A weight of the cost at which it is the best choice: `objective.weight` of a choice.
                 */
                weight: number;
            }[];
            /** @description Where the next page starts; null at the end. */
            next_cursor?: string | null;
        };
        /** @description A page of a list. */
        List_Job: {
            /** @description The entries. */
            data: {
                /** @description Whether it was asked to end and has not yet. */
                cancel_requested: boolean;
                /**
                 * Format: date-time
                 * @description When it was accepted, in UTC.
                 */
                created: string;
                error?: components["schemas"]["JobError"] | null;
                /**
                 * Format: date-time
                 * @description When it ended, in UTC.
                 */
                finished?: string | null;
                /** @description Its id; ids sort by the time of creation. */
                id: string;
                /** @description What it does. */
                kind: components["schemas"]["JobKind"];
                progress?: components["schemas"]["Progress"] | null;
                /** @description The request as accepted, defaults filled in. */
                request: Record<string, never>;
                /** @description What came of it. */
                result?: Record<string, never> | null;
                /**
                 * Format: date-time
                 * @description When it last began to run, in UTC.
                 */
                started?: string | null;
                /** @description How far it is. */
                state: components["schemas"]["JobState"];
            }[];
            /** @description Where the next page starts; null at the end. */
            next_cursor?: string | null;
        };
        /** @description A page of a list. */
        List_StructureSummary: {
            /** @description The entries. */
            data: {
                /** @description Parameters that its latest search allowed. */
                budget?: number | null;
                /** @description The same by kind. */
                by_kind: {
                    [key: string]: components["schemas"]["Total"];
                };
                /**
                 * Format: date-time
                 * @description When it was first stored, in UTC.
                 */
                created: string;
                /** @description Its id. */
                id: string;
                /** @description Number of modules. */
                modules: number;
                /** @description What made it first. */
                origin: components["schemas"]["Origin"];
                /** @description Trained parameters. */
                parameters: number;
                /** @description What serving it takes and shares. */
                serving: components["schemas"]["Serving"];
                /** @description The backbone shape that it fits. */
                shape: components["schemas"]["Shape"];
                /** @description Tasks that it was searched on. */
                source_tasks: string[];
                /** @description Spaces that it was found in. */
                spaces: string[];
            }[];
            /** @description Where the next page starts; null at the end. */
            next_cursor?: string | null;
        };
        /** @description A page of a list. */
        List_Task: {
            /** @description The entries. */
            data: {
                /** @description Whether it ships with the program. */
                builtin: boolean;
                /**
                 * Format: date-time
                 * @description When this version was stored, in UTC.
                 */
                created: string;
                /** @description Template, labels and metric. */
                definition: components["schemas"]["Definition"];
                /** @description Digest of definition and rows. */
                digest: components["schemas"]["Digest"];
                /** @description Its name. */
                name: string;
                /** @description How many rows each split has. */
                rows: components["schemas"]["TaskRows"];
            }[];
            /** @description Where the next page starts; null at the end. */
            next_cursor?: string | null;
        };
        /** @description A page of a list. */
        List_Transfer: {
            /** @description The entries. */
            data: {
                /** @description Adapter that came of it. */
                adapter?: string | null;
                /**
                 * Format: date-time
                 * @description When, in UTC.
                 */
                created: string;
                /** @description Job that made it. */
                job?: string | null;
                /** @description The metric. */
                metric: string;
                /** @description Trained parameters. */
                parameters: number;
                /**
                 * Format: double
                 * @description Mean score over the seeds.
                 */
                score_mean: number;
                /**
                 * Format: double
                 * @description Sample standard deviation over the seeds; 0 for one seed.
                 */
                score_std: number;
                /** @description Seeds of the training runs. */
                seeds: number[];
                /** @description Id of the structure. */
                source_structure: string;
                /** @description Task that the structure was searched on; none for a hand-made one. */
                source_task?: string | null;
                /** @description Task that it was trained on. */
                target_task: string;
            }[];
            /** @description Where the next page starts; null at the end. */
            next_cursor?: string | null;
        };
        /** @description Log-probabilities of tokens as the model gives them, before any penalty or temperature; an entry a token. */
        Logprobs: {
            /** @description Where it begins in the text, in characters. */
            text_offset: number[];
            /** @description Its log-probability. */
            token_logprobs: number[];
            /** @description The text that each adds; `token_id:N` where it adds none of its own. */
            tokens: string[];
            /** @description The likeliest tokens of its step; null if none were asked for. */
            top_logprobs?: {
                [key: string]: number;
            }[] | null;
        };
        /**
         * @description Where dropout's masks differ.
         * @enum {string}
         */
        Masks: "shared" | "free";
        /**
         * @description What a structure's modules add to a request on one thread of the server's machine: the shortest of a few runs when it was
         *     first asked, other work of the machine included. The backbone's own time is not in it.
         */
        MeasuredCost: {
            /** @description Tokens made. */
            new_tokens: number;
            /**
             * Format: double
             * @description Microseconds of the request.
             */
            request_microseconds: number;
            /**
             * Format: double
             * @description Of these, microseconds for the source: none where its encoding is shared or cached.
             */
            source_microseconds: number;
            /** @description Tokens of the request's source. */
            source_tokens: number;
            /**
             * Format: double
             * @description Microseconds for each token made.
             */
            token_microseconds: number;
        };
        /**
         * @description How a task's answers are scored; higher is better.
         * @enum {string}
         */
        Metric: "accuracy" | "f1" | "macro_f1" | "matthews" | "pearson";
        /** @description The backbone, an adapter, or an alias of one. */
        Model: {
            /**
             * Format: int64
             * @description When it came to be, in seconds since 1970.
             */
            created: number;
            /** @description What to give as `model`. */
            id: string;
            /** @description Always `model`. */
            object: string;
            /** @description Always `s3delta`. */
            owned_by: string;
            /** @description The backbone below an adapter. */
            parent?: string | null;
            /** @description The generation, as `name@digest`; the backbone itself for the backbone. */
            root: string;
        };
        /** @description What may be given as `model`. */
        ModelList: {
            /** @description The backbone, then adapters by name. */
            data: components["schemas"]["Model"][];
            /** @description Always `list`. */
            object: string;
        };
        /** @description Where a module of the space stands. */
        ModulePlace: {
            /** @description Its kind. */
            kind: components["schemas"]["KindName"];
            /** @description Its position. */
            position: string;
        };
        /** @description A module of a search space with the search's probability for it. */
        ModuleProbability: {
            /**
             * Format: double
             * @description Standard deviation of p over the seeds, where there are several: little where the choice is firm.
             */
            deviation?: number | null;
            /**
             * @description Logit of p in each seed's search, from which p under another budget follows however near to 1 it is; null where that search
             *     pruned the module, and empty where it is not known.
             */
            logits?: (number | null)[];
            /** @description The module. */
            module: components["schemas"]["DeltaModule"];
            /**
             * Format: double
             * @description Its probability p in [0, 1].
             */
            p: number;
            /** @description Its trained parameters. */
            parameters: number;
        };
        /**
         * @description The word `never`.
         * @enum {string}
         */
        Never: "never";
        /** @description Modules are chosen by the sum of p less this weight times their cost. */
        Objective: {
            /** @description What serving costs. */
            cost: components["schemas"]["ServingCost"];
            /**
             * Format: double
             * @description How much of Σp a unit of cost is worth; 0 or more.
             */
            weight: number;
        };
        /**
         * @description How the structural gradient is taken.
         * @enum {string}
         */
        Order: "first" | "second" | "reference";
        /**
         * @description What made a structure.
         * @enum {string}
         */
        Origin: "search" | "upload" | "random" | "manual" | "average";
        /**
         * @description What a job is at.
         * @enum {string}
         */
        Phase: "prepare" | "search" | "retrain" | "evaluate";
        /** @description The prediction for one input. */
        Prediction: {
            /** @description The most likely label word, or candidate number. */
            label: string;
            /** @description The probability of each, which sum to 1; of the likeliest ones alone if `top_k` was given. */
            scores: {
                [key: string]: number;
            };
            /** @description The likeliest ones, best first, if `top_k` was given. */
            top?: components["schemas"]["LabelScore"][] | null;
            /**
             * Format: double
             * @description The expected value, where the task asks for a number.
             */
            value?: number | null;
        };
        /** @description What to predict. */
        PredictionRequest: {
            /** @description An adapter; or the backbone's name, with `task`. */
            adapter?: string | null;
            /** @description Several of them, each asked about every input. */
            adapters?: string[] | null;
            /** @description The fields of each input, as the task's template names them. */
            inputs: {
                [key: string]: string;
            }[];
            /** @description Task whose template and labels to use; the one that each adapter was trained on if absent. */
            task?: string | null;
            /**
             * Format: double
             * @description Seconds after which the request is given up with 504; without end if absent.
             */
            timeout?: number | null;
            /** @description Tell only so many of the likeliest labels; all if absent. */
            top_k?: number | null;
        };
        /** @description What was predicted. */
        PredictionResponse: {
            /** @description One entry for each adapter, in the order of the request. */
            data: components["schemas"]["AdapterPredictions"][];
            /** @description What answering took. */
            usage: components["schemas"]["PredictionUsage"];
        };
        /** @description What answering took. An input counts once for each adapter. */
        PredictionUsage: {
            /** @description Tokens of those whose encoding was there already. */
            cached_tokens: number;
            /**
             * @description Those whose encoding was there already: that of the same text for another adapter that leaves the encoder alone, or for
             *     an earlier request.
             */
            encoder_shared: number;
            /** @description Inputs answered. */
            inputs: number;
            /** @description Those whose cross-attention keys and values were there as well. */
            keys_values_shared: number;
            /** @description Tokens of the inputs. */
            prompt_tokens: number;
        };
        /**
         * @description Settings under one name; a field that a request gives itself goes before them.
         * @enum {string}
         */
        Preset: "s3delta-paper" | "s3delta-reference";
        /** @description How far a running job is; what does not apply is absent. */
        Progress: {
            /**
             * @description Parameters allowed.
             * @default null
             */
            budget: number | null;
            /**
             * Format: double
             * @description Best score on dev so far.
             * @default null
             */
            dev_score: number | null;
            /**
             * Format: double
             * @description Seconds that the job is likely to need still.
             * @default null
             */
            eta_seconds: number | null;
            /**
             * Format: double
             * @description Expected parameters, Σ p_i |δ_i|.
             * @default null
             */
            expected_parameters: number | null;
            /**
             * Format: double
             * @description Loss on the half that the structural parameters learn from.
             * @default null
             */
            loss_alpha: number | null;
            /**
             * Format: double
             * @description Loss on the half that the delta weights learn from.
             * @default null
             */
            loss_delta: number | null;
            /**
             * @description What that score is.
             * @default null
             */
            metric: string | null;
            /**
             * @description The modules that `probabilities` speaks of; reported once, and kept in the job's own progress.
             * @default null
             */
            modules: components["schemas"]["ModulePlace"][] | null;
            /**
             * @description What it is at.
             * @default prepare
             */
            phase: components["schemas"]["Phase"];
            /**
             * @description p of every module of the space, while searching.
             * @default null
             */
            probabilities: number[] | null;
            /**
             * Format: double
             * @description Seconds since the job began to run.
             * @default 0
             */
            seconds: number;
            /**
             * Format: int64
             * @description Seed of this run.
             * @default 0
             */
            seed: number;
            /**
             * @description Steps done in this phase.
             * @default 0
             */
            step: number;
            /**
             * @description Steps of this phase.
             * @default 0
             */
            total_steps: number;
            /**
             * Format: double
             * @description Shift of the global sigmoid.
             * @default null
             */
            zeta: number | null;
        };
        /** @description One text or several, or their token ids. */
        Prompt: string | string[] | number[] | number[][];
        /** @description More of the prompts' tokens. */
        PromptTokensDetails: {
            /** @description Tokens of prompts whose encoding was there already: made for an earlier request, or for another one at the same time. */
            cached_tokens: number;
        };
        /** @description One way in which a structure came about. */
        Provenance: {
            /** @description Digest of the backbone's weights. */
            backbone_digest?: string | null;
            /** @description Parameters allowed. */
            budget?: number | null;
            /**
             * Format: date-time
             * @description When, in UTC.
             */
            created: string;
            /** @description Job that made it. */
            job?: string | null;
            /** @description Why the budget is not filled, or not by what the search kept. */
            note?: string | null;
            objective?: components["schemas"]["Objective"] | null;
            /** @description What made it. */
            origin: components["schemas"]["Origin"];
            /** @description Digests of the structures it was made from. */
            parents?: string[];
            /** @description Every module of the space with its p, in canonical order. */
            probabilities?: components["schemas"]["ModuleProbability"][];
            /** @description Seeds whose p were averaged. */
            seeds?: number[];
            /** @description Search settings. */
            settings?: Record<string, never>;
            /** @description Task it was searched on. */
            source_task?: string | null;
            /** @description Name of the search space. */
            space?: string | null;
            /** @description Digest of that task's data and template. */
            task_digest?: string | null;
        };
        /** @description Training of a given structure on a task. */
        RetrainRequest: {
            /** @description Adapter that gets the new generation; the task's name if absent, with the baseline's name behind it. */
            adapter?: string | null;
            /** @description Digest of the backbone's weights; filled in when the job is accepted, so that it never goes on over another one. */
            backbone_digest?: string | null;
            /** @description Rows of a step. */
            batch_size?: number;
            budget?: components["schemas"]["Budget"] | null;
            /** @description Passes over the training rows; 5 if `steps` is absent too. */
            epochs?: number | null;
            /** @description Dev evaluations during the training. */
            evaluations?: number;
            /** @description Whether rows of like length share a batch: less is padded, and batches are less alike. */
            group_by_length?: boolean;
            /**
             * Format: double
             * @description Learning rate of the delta weights.
             */
            learning_rate?: number;
            /** @description Tokens of a source text; longer ones are cut. */
            max_source_tokens?: number;
            /**
             * Format: int64
             * @description Seed of the initial values, the order of rows, and a random structure's draw.
             */
            seed?: number;
            /** @description Space that a random structure is drawn from. */
            space?: components["schemas"]["SpaceChoice"];
            /** @description Steps; excludes `epochs`. */
            steps?: number | null;
            /** @description A structure's id, or a baseline: `random`, `bitfit`, `lnfit`, `lora_qv`, `low_rank_adapter`, `adapter`. */
            structure: string;
            /** @description Task to train on. */
            task: string;
            /** @description Digest of the task's rows and template; filled in when the job is accepted. */
            task_digest?: string | null;
            /** @description Training rows to use; all if absent. */
            train_rows?: number | null;
        };
        /** @description What a re-training gives. */
        RetrainResult: {
            /** @description The adapter that got a generation. */
            adapter: string;
            /** @description Digest of that generation. */
            generation: string;
            /** @description Its parameters. */
            parameters: number;
            /** @description Its score. */
            score: components["schemas"]["Score"];
            /**
             * Format: double
             * @description Seconds.
             */
            seconds: number;
            /** @description The structure. */
            structure: string;
        };
        /** @description A row: named texts and a label. */
        Row: {
            /** @description The template's fields. */
            fields: {
                [key: string]: string;
            };
            /** @description The label word, or the number as it stood in the data. */
            label: string;
        };
        /** @description A task's rows by split. */
        Rows: {
            /** @description For choosing checkpoints and structures. */
            dev?: components["schemas"]["Row"][];
            /** @description For the final score only. */
            test?: components["schemas"]["Row"][];
            /** @description For training. */
            train?: components["schemas"]["Row"][];
        };
        /** @description Which modules a rule speaks of; what is left out matches everything. */
        Rule: {
            /**
             * Format: double
             * @description LoRA's scaling numerator.
             */
            alpha?: number | null;
            /** @description Inner width of the adapters that the rule adds. */
            bottleneck?: number | null;
            /** @description Kinds; none means all. */
            kinds?: components["schemas"]["KindName"][];
            /** @description First and last block, both included. */
            layers?: number[] | null;
            /** @description Suffixes of positions at a dot, such as `SelfAttention.q`; none means all. */
            positions?: string[];
            /** @description Rank of the LoRA and low-rank adapters that the rule adds. */
            rank?: number | null;
            /** @description `encoder` or `decoder`. */
            stack?: string | null;
        };
        /** @description A score on one split. */
        Score: {
            /** @description The metric. */
            metric: string;
            /** @description The split. */
            split: string;
            /**
             * Format: double
             * @description Its value; finite.
             */
            value: number;
        };
        /** @description A search for a structure (method.md sections 3 to 5). */
        SearchRequest: {
            /** @description Adapter that gets the new generation; the task's name if absent. */
            adapter?: string | null;
            /** @description Digest of the backbone's weights; filled in when the job is accepted, so that it never goes on over another one. */
            backbone_digest?: string | null;
            /** @description Rows of a step; 16 if absent. */
            batch_size?: number | null;
            /**
             * Format: double
             * @description Temperature β of the gates.
             */
            beta?: number;
            /** @description Parameters that the structure may have. */
            budget: components["schemas"]["Budget"];
            /**
             * Format: double
             * @description Share of the training rows that the delta weights are searched on; the structural parameters have the others. A pass of
             *     `epochs` goes over the longer part.
             */
            delta_share?: number;
            /** @description Gates of the dev score by which the best structural parameters are kept. */
            dev_gates?: components["schemas"]["DevGates"];
            /**
             * Format: double
             * @description Dropout rate while searching, in 0..1; 0 if absent.
             */
            dropout?: number | null;
            dropout_masks?: components["schemas"]["Masks"] | null;
            /** @description Passes over the training rows, of a search over the longer of their two parts; 5 if `steps` is absent too. */
            epochs?: number | null;
            /**
             * Format: double
             * @description Size of the perturbation of the central difference: ε = this / (‖v‖ + 1e-6).
             */
            epsilon?: number;
            /** @description Dev evaluations during each search and re-training. */
            evaluations?: number;
            /** @description Whether rows of like length share a batch: less is padded, and batches are less alike. */
            group_by_length?: boolean;
            /**
             * Format: double
             * @description Penalty λ₀ of the L0 control, which replaces ζ and the competition between modules; the method itself if absent.
             */
            l0?: number | null;
            /**
             * Format: double
             * @description Learning rate of the delta weights.
             */
            learning_rate?: number;
            /** @description Tokens of a source text; longer ones are cut. */
            max_source_tokens?: number;
            /**
             * @description Further budgets, for each of which a structure is chosen from the same structural parameters, ζ solved anew; it is not
             *     trained.
             */
            more_budgets?: components["schemas"]["Budget"][];
            order?: components["schemas"]["Order"] | null;
            preset?: components["schemas"]["Preset"] | null;
            /**
             * Format: double
             * @description Modules whose p falls below this part of the budget's share of the space at a dev evaluation are searched no further; 0
             *     keeps all.
             */
            prune_below?: number;
            /** @description Whether to re-train the structure found and register it as an adapter. */
            retrain?: boolean;
            /**
             * @description Batches by which each module's saliency is measured before the first step, for the structural parameters to start from; they
             *     start at 0 if it is 0. Excludes `warm_start`.
             */
            saliency?: number;
            /** @description One search per seed, which also draws `train_rows`; the structure comes from their mean p and is re-trained by the first. */
            seeds?: number[];
            selection?: components["schemas"]["Selection"] | null;
            /** @description `mix`, `lora`, `full`, or a space of one's own. */
            space?: components["schemas"]["SpaceChoice"];
            /** @description Steps; excludes `epochs`. */
            steps?: number | null;
            /**
             * Format: double
             * @description Learning rate of the structural parameters.
             */
            structural_learning_rate?: number;
            /** @description Task to search on. */
            task: string;
            /** @description Digest of the task's rows and template; filled in when the job is accepted. */
            task_digest?: string | null;
            /**
             * Format: double
             * @description Temperature τ of the shifted sigmoid.
             */
            tau?: number;
            /** @description Training rows to use; all if absent. */
            train_rows?: number | null;
            /**
             * @description A task that a structure was searched on, or a structure's id, whose p the structural parameters start from, as far as 1e-7
             *     from 0 and 1, so that no module is out of reach.
             */
            warm_start?: string | null;
            /**
             * Format: date-time
             * @description When the search was accepted whose p are taken, as another one may have found the same structure; filled in when the job is
             *     accepted.
             */
            warm_start_search?: string | null;
        };
        /** @description What a search gives. */
        SearchResult: {
            /** @description The adapter that got a generation, if re-trained. */
            adapter?: string | null;
            /** @description Digest of that generation. */
            generation?: string | null;
            /** @description The structure at each of `more_budgets`. */
            more?: components["schemas"]["BudgetResult"][];
            /** @description Its parameters. */
            parameters: number;
            /**
             * Format: double
             * @description Seconds of the re-training.
             */
            retrain_seconds?: number | null;
            score?: components["schemas"]["Score"] | null;
            /**
             * Format: double
             * @description Seconds of all searches, but for those of a search before it was resumed.
             */
            search_seconds: number;
            /** @description The structure of their mean p; the one that was re-trained. */
            structure: string;
            /** @description The structure of each seed. */
            structures: string[];
        };
        /**
         * @description How modules are chosen under a budget.
         * @enum {string}
         */
        Selection: "greedy" | "exact";
        /**
         * @description What serving a structure takes and shares. It follows from the modules and the machine, and is no part of the document: in
         *     an upload it is ignored.
         */
        Serving: {
            /** @description Bytes of its delta weights in memory, in f32. */
            bytes: number;
            /**
             * @description The first position that it touches, in the order of a forward pass: up to there a text's activations are the bare
             *     backbone's.
             */
            first_position?: string | null;
            measured?: components["schemas"]["MeasuredCost"] | null;
            /** @description Trained parameters. */
            parameters: number;
            /** @description Whether it shares the encoder's output of a text with the bare backbone and other such adapters. */
            shares_encoder: boolean;
            /** @description Whether it shares cross-attention's keys and values with them as well. */
            shares_keys_values: boolean;
        };
        /**
         * @description What serving a module costs.
         * @enum {string}
         */
        ServingCost: "bytes" | "microseconds" | "prefer_decoder";
        /**
         * @description The sizes of a T5, which decide where delta modules can stand and how large they are.
         *
         *     A structure fits every backbone of the same shape; the vocabulary counts only if `lm_head` is touched.
         */
        Shape: {
            /** @description Inner width of the feed-forward layers. */
            d_ff: number;
            /** @description Width of one attention head. */
            d_kv: number;
            /** @description Width of the residual stream. */
            d_model: number;
            /** @description Decoder blocks. */
            decoder_layers: number;
            /** @description Encoder blocks. */
            encoder_layers: number;
            /** @description Model family: `t5`, which T5 v1.0 and v1.1, Flan-T5, ByT5, mT5 and UMT5 share: their positions are the same. */
            family: string;
            /** @description Whether the feed-forward layer is gated (`wi_0`, `wi_1`) as in v1.1. */
            gated: boolean;
            /** @description Attention heads. */
            num_heads: number;
            /** @description Rows of the embedding, which are the outputs of `lm_head`. */
            vocab_size: number;
        };
        /** @description A search space by name or in full. */
        SpaceChoice: string | components["schemas"]["SpaceFile"];
        /** @description A user-made search space. */
        SpaceFile: {
            /** @description Built-in space to start from. */
            base?: string | null;
            /** @description What to take away afterwards. */
            exclude?: components["schemas"]["Rule"][];
            /** @description What to add, in order. */
            include?: components["schemas"]["Rule"][];
            /** @description Name shown with what is searched in it. */
            name: string;
        };
        /**
         * @description A part of a task's rows.
         * @enum {string}
         */
        Split: "train" | "dev" | "test";
        /**
         * @description How splits that have no file are made, by seed and with labels in proportion: without test and with dev, dev is
         *     halved (unless `test` is given); otherwise rows are drawn from train, by default a tenth and at most 2000.
         */
        SplitRule: {
            /** @description Rows of train drawn for dev. */
            dev?: number | null;
            /**
             * Format: int64
             * @description Seed of the draws.
             */
            seed?: number;
            /** @description Rows of train drawn for test. */
            test?: number | null;
        };
        /** @description Where to stop. */
        Stop: string | string[];
        /** @description How to stream. */
        StreamOptions: {
            /** @description Whether a last part tells the usage. */
            include_usage?: boolean;
        };
        /**
         * @description A structure: plain data, content-addressed by shape signature and modules, so that the same structure found twice is
         *     one object with two provenances.
         */
        Structure: {
            /** @description Always [`STRUCTURE_FORMAT`]. */
            format: string;
            /** @description Digest of shape signature and modules; may be left out on upload. */
            id?: string;
            /** @description The chosen modules in canonical order. */
            modules: components["schemas"]["DeltaModule"][];
            /** @description Where it came from; one entry per search or upload that gave it. */
            provenance?: components["schemas"]["Provenance"][];
            serving?: components["schemas"]["Serving"] | null;
            /** @description The backbone shape that it fits. */
            shape: components["schemas"]["Shape"];
        };
        /** @description A structure in a list. */
        StructureSummary: {
            /** @description Parameters that its latest search allowed. */
            budget?: number | null;
            /** @description The same by kind. */
            by_kind: {
                [key: string]: components["schemas"]["Total"];
            };
            /**
             * Format: date-time
             * @description When it was first stored, in UTC.
             */
            created: string;
            /** @description Its id. */
            id: string;
            /** @description Number of modules. */
            modules: number;
            /** @description What made it first. */
            origin: components["schemas"]["Origin"];
            /** @description Trained parameters. */
            parameters: number;
            /** @description What serving it takes and shares. */
            serving: components["schemas"]["Serving"];
            /** @description The backbone shape that it fits. */
            shape: components["schemas"]["Shape"];
            /** @description Tasks that it was searched on. */
            source_tasks: string[];
            /** @description Spaces that it was found in. */
            spaces: string[];
        };
        /** @description What the target text is. */
        Target: {
            /** @enum {string} */
            kind: "classification";
            /** @description Labels as they stand in the data, and the word for each. */
            labels: components["schemas"]["Label"][];
        } | {
            /** @enum {string} */
            kind: "regression";
            /**
             * Format: double
             * @description Greatest value.
             */
            maximum: number;
            /**
             * Format: double
             * @description Least value.
             */
            minimum: number;
            /**
             * Format: double
             * @description Distance between two candidates.
             */
            step: number;
        };
        /** @description A stored task. */
        Task: {
            /** @description Whether it ships with the program. */
            builtin: boolean;
            /**
             * Format: date-time
             * @description When this version was stored, in UTC.
             */
            created: string;
            /** @description Template, labels and metric. */
            definition: components["schemas"]["Definition"];
            /** @description Digest of definition and rows. */
            digest: components["schemas"]["Digest"];
            /** @description Its name. */
            name: string;
            /** @description How many rows each split has. */
            rows: components["schemas"]["TaskRows"];
        };
        /** @description A task, and which version of it. */
        TaskRef: {
            /** @description Digest of definition and rows. */
            digest: components["schemas"]["Digest"];
            /** @description Its name. */
            name: string;
        };
        /** @description Rows by split. */
        TaskRows: {
            /** @description Development rows. */
            dev: number;
            /** @description Test rows. */
            test: number;
            /** @description Training rows. */
            train: number;
        };
        /** @description A task to store. */
        TaskUpload: {
            /** @description Template, labels and metric; its name must be that of the path. */
            definition: components["schemas"]["Definition"];
            /** @description Rows by split; each split needs some. */
            rows: components["schemas"]["Rows"];
        };
        /** @description A count of modules and of their parameters. */
        Total: {
            /** @description Delta modules. */
            modules: number;
            /** @description Trained parameters. */
            parameters: number;
        };
        /** @description A source task's structure re-trained on a target task, with the score that resulted. */
        Transfer: {
            /** @description Adapter that came of it. */
            adapter?: string | null;
            /**
             * Format: date-time
             * @description When, in UTC.
             */
            created: string;
            /** @description Job that made it. */
            job?: string | null;
            /** @description The metric. */
            metric: string;
            /** @description Trained parameters. */
            parameters: number;
            /**
             * Format: double
             * @description Mean score over the seeds.
             */
            score_mean: number;
            /**
             * Format: double
             * @description Sample standard deviation over the seeds; 0 for one seed.
             */
            score_std: number;
            /** @description Seeds of the training runs. */
            seeds: number[];
            /** @description Id of the structure. */
            source_structure: string;
            /** @description Task that the structure was searched on; none for a hand-made one. */
            source_task?: string | null;
            /** @description Task that it was trained on. */
            target_task: string;
        };
        /** @description Training of a source task's structure on a target task (the paper's Table 4). */
        TransferRequest: {
            /** @description Adapter that gets the new generation; `<target>-from-<source>` if absent. */
            adapter?: string | null;
            /** @description Digest of the backbone's weights; filled in when the job is accepted, so that it never goes on over another one. */
            backbone_digest?: string | null;
            /** @description Rows of a step. */
            batch_size?: number;
            /** @description Passes over the training rows; 5 if `steps` is absent too. */
            epochs?: number | null;
            /** @description Dev evaluations during each training. */
            evaluations?: number;
            /** @description Whether rows of like length share a batch: less is padded, and batches are less alike. */
            group_by_length?: boolean;
            /**
             * Format: double
             * @description Learning rate of the delta weights.
             */
            learning_rate?: number;
            /** @description Tokens of a source text; longer ones are cut. */
            max_source_tokens?: number;
            /** @description One training per seed. */
            seeds?: number[];
            /**
             * @description A task that a structure was searched on (the newest is taken), or a structure's id; the id once the job is accepted, so that it
             *     never goes on with another one.
             */
            source: string;
            /** @description The task that the source was searched on; filled in when the job is accepted. */
            source_task?: string | null;
            /** @description Steps; excludes `epochs`. */
            steps?: number | null;
            /** @description Task to train on. */
            target: string;
            /** @description Digest of the target's rows and template; filled in when the job is accepted. */
            task_digest?: string | null;
            /** @description Training rows to use; all if absent. */
            train_rows?: number | null;
        };
        /** @description What a transfer gives. */
        TransferResult: {
            /** @description The adapter that got a generation. */
            adapter: string;
            /** @description Digest of that generation: the seed with the best dev score. */
            generation: string;
            /** @description What the scores are. */
            metric: string;
            /** @description Its parameters. */
            parameters: number;
            /**
             * Format: double
             * @description Their mean.
             */
            score_mean: number;
            /**
             * Format: double
             * @description Their standard deviation.
             */
            score_std: number;
            /** @description Score of each seed on test. */
            scores: number[];
            /**
             * Format: double
             * @description Seconds.
             */
            seconds: number;
            /** @description The source's structure. */
            structure: string;
        };
        /** @description Tokens read and made. */
        Usage: {
            /** @description Tokens made. */
            completion_tokens: number;
            /** @description Tokens of all prompts. */
            prompt_tokens: number;
            /** @description More of the prompts' tokens. */
            prompt_tokens_details: components["schemas"]["PromptTokensDetails"];
            /** @description Both. */
            total_tokens: number;
        };
    };
    responses: never;
    parameters: never;
    requestBodies: never;
    headers: never;
    pathItems: never;
}
export type $defs = Record<string, never>;
export interface operations {
    healthz: {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            200: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Health"];
                };
            };
        };
    };
    get_metrics: {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            200: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "text/plain": string;
                };
            };
            default: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["ErrorBody"];
                };
            };
        };
    };
    readyz: {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            200: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Health"];
                };
            };
            default: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["ErrorBody"];
                };
            };
        };
    };
    list_adapters: {
        parameters: {
            query?: {
                /** @description `next_cursor` of the page before. */
                cursor?: string;
                /** @description Most entries, 1 to 1000; 100 if absent. */
                limit?: number;
            };
            header?: never;
            path?: never;
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            200: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["List_Adapter"];
                };
            };
            default: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["ErrorBody"];
                };
            };
        };
    };
    create_adapter: {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        requestBody: {
            content: {
                "multipart/form-data": components["schemas"]["AdapterUpload"];
            };
        };
        responses: {
            201: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Adapter"];
                };
            };
            default: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["ErrorBody"];
                };
            };
        };
    };
    get_adapter: {
        parameters: {
            query?: never;
            header?: never;
            path: {
                /** @description Its name */
                name: string;
            };
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            200: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Adapter"];
                };
            };
            default: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["ErrorBody"];
                };
            };
        };
    };
    delete_adapter: {
        parameters: {
            query?: never;
            header?: never;
            path: {
                /** @description Its name */
                name: string;
            };
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            204: {
                headers: {
                    [name: string]: unknown;
                };
                content?: never;
            };
            default: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["ErrorBody"];
                };
            };
        };
    };
    put_alias: {
        parameters: {
            query?: never;
            header?: {
                /** @description Digest, in quotes, that it must stand for now */
                "if-match"?: string | null;
                /** @description `*` where it must be new */
                "if-none-match"?: string | null;
            };
            path: {
                /** @description The alias */
                alias: string;
                /** @description The adapter */
                name: string;
            };
            cookie?: never;
        };
        requestBody: {
            content: {
                "application/json": components["schemas"]["AliasTarget"];
            };
        };
        responses: {
            200: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Adapter"];
                };
            };
            default: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["ErrorBody"];
                };
            };
        };
    };
    delete_alias: {
        parameters: {
            query?: never;
            header?: {
                /** @description Digest, in quotes, that it must stand for now */
                "if-match"?: string | null;
            };
            path: {
                /** @description The alias */
                alias: string;
                /** @description The adapter */
                name: string;
            };
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            200: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Adapter"];
                };
            };
            default: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["ErrorBody"];
                };
            };
        };
    };
    delete_generation: {
        parameters: {
            query?: never;
            header?: never;
            path: {
                /** @description Its digest */
                digest: string;
                /** @description The adapter */
                name: string;
            };
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            204: {
                headers: {
                    [name: string]: unknown;
                };
                content?: never;
            };
            default: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["ErrorBody"];
                };
            };
        };
    };
    get_weights: {
        parameters: {
            query?: never;
            header?: {
                /** @description An ETag received before */
                "if-none-match"?: string | null;
            };
            path: {
                /** @description Digest of the generation, a prefix of it, or an alias */
                digest: string;
                /** @description The adapter */
                name: string;
            };
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            200: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/octet-stream": number[];
                };
            };
            304: {
                headers: {
                    [name: string]: unknown;
                };
                content?: never;
            };
            default: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["ErrorBody"];
                };
            };
        };
    };
    get_backbone: {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            200: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Backbone"];
                };
            };
            default: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["ErrorBody"];
                };
            };
        };
    };
    create_completion: {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        requestBody: {
            content: {
                "application/json": components["schemas"]["CompletionRequest"];
            };
        };
        responses: {
            200: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Completion"];
                    "text/event-stream": string;
                };
            };
            default: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["ErrorBody"];
                };
            };
        };
    };
    create_evaluation: {
        parameters: {
            query?: never;
            header?: {
                /** @description The same key and request give the first job */
                "idempotency-key"?: string | null;
            };
            path?: never;
            cookie?: never;
        };
        requestBody: {
            content: {
                "application/json": components["schemas"]["EvaluationRequest"];
            };
        };
        responses: {
            202: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Job"];
                };
            };
            default: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["ErrorBody"];
                };
            };
        };
    };
    list_jobs: {
        parameters: {
            query?: {
                /** @description `next_cursor` of the page before. */
                cursor?: string;
                /** @description Of this kind. */
                kind?: components["schemas"]["JobKind"];
                /** @description Most entries, 1 to 1000; 100 if absent. */
                limit?: number;
                /** @description In this state. */
                state?: components["schemas"]["JobState"];
            };
            header?: never;
            path?: never;
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            200: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["List_Job"];
                };
            };
            default: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["ErrorBody"];
                };
            };
        };
    };
    get_job: {
        parameters: {
            query?: never;
            header?: never;
            path: {
                /** @description Its id */
                id: string;
            };
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            200: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Job"];
                };
            };
            default: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["ErrorBody"];
                };
            };
        };
    };
    delete_job: {
        parameters: {
            query?: never;
            header?: never;
            path: {
                /** @description Its id */
                id: string;
            };
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            204: {
                headers: {
                    [name: string]: unknown;
                };
                content?: never;
            };
            default: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["ErrorBody"];
                };
            };
        };
    };
    cancel_job: {
        parameters: {
            query?: never;
            header?: never;
            path: {
                /** @description Its id */
                id: string;
            };
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            200: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Job"];
                };
            };
            default: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["ErrorBody"];
                };
            };
        };
    };
    job_events: {
        parameters: {
            query?: never;
            header?: never;
            path: {
                /** @description Its id */
                id: string;
            };
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            200: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "text/event-stream": string;
                };
            };
            default: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["ErrorBody"];
                };
            };
        };
    };
    resume_job: {
        parameters: {
            query?: never;
            header?: never;
            path: {
                /** @description Its id */
                id: string;
            };
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            200: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Job"];
                };
            };
            default: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["ErrorBody"];
                };
            };
        };
    };
    list_models: {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            200: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["ModelList"];
                };
            };
            default: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["ErrorBody"];
                };
            };
        };
    };
    create_prediction: {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        requestBody: {
            content: {
                "application/json": components["schemas"]["PredictionRequest"];
            };
        };
        responses: {
            200: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["PredictionResponse"];
                };
            };
            default: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["ErrorBody"];
                };
            };
        };
    };
    create_retrain: {
        parameters: {
            query?: never;
            header?: {
                /** @description The same key and request give the first job */
                "idempotency-key"?: string | null;
            };
            path?: never;
            cookie?: never;
        };
        requestBody: {
            content: {
                "application/json": components["schemas"]["RetrainRequest"];
            };
        };
        responses: {
            202: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Job"];
                };
            };
            default: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["ErrorBody"];
                };
            };
        };
    };
    create_search: {
        parameters: {
            query?: never;
            header?: {
                /** @description The same key and request give the first job */
                "idempotency-key"?: string | null;
            };
            path?: never;
            cookie?: never;
        };
        requestBody: {
            content: {
                "application/json": components["schemas"]["SearchRequest"];
            };
        };
        responses: {
            202: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Job"];
                };
            };
            default: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["ErrorBody"];
                };
            };
        };
    };
    list_structures: {
        parameters: {
            query?: {
                /** @description `next_cursor` of the page before. */
                cursor?: string;
                /** @description Most entries, 1 to 1000; 100 if absent. */
                limit?: number;
                /** @description Searched on this task. */
                source_task?: string;
                /** @description Found in the space of this name. */
                space?: string;
            };
            header?: never;
            path?: never;
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            200: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["List_StructureSummary"];
                };
            };
            default: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["ErrorBody"];
                };
            };
        };
    };
    create_structure: {
        parameters: {
            query?: {
                /** @description Whether to keep a structure that does not fit the served backbone. */
                allow_shape_mismatch?: boolean;
            };
            header?: never;
            path?: never;
            cookie?: never;
        };
        requestBody: {
            content: {
                "application/json": components["schemas"]["Structure"];
            };
        };
        responses: {
            200: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Structure"];
                };
            };
            201: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Structure"];
                };
            };
            default: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["ErrorBody"];
                };
            };
        };
    };
    get_structure: {
        parameters: {
            query?: never;
            header?: never;
            path: {
                /** @description Its id, or a prefix of 4 characters or more that fits one only */
                id: string;
            };
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            200: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Structure"];
                };
            };
            default: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["ErrorBody"];
                };
            };
        };
    };
    delete_structure: {
        parameters: {
            query?: never;
            header?: never;
            path: {
                /** @description Its id */
                id: string;
            };
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            204: {
                headers: {
                    [name: string]: unknown;
                };
                content?: never;
            };
            default: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["ErrorBody"];
                };
            };
        };
    };
    create_choice: {
        parameters: {
            query?: never;
            header?: never;
            path: {
                /** @description The structure's id, or a prefix of 4 characters or more that fits one only */
                id: string;
            };
            cookie?: never;
        };
        requestBody: {
            content: {
                "application/json": components["schemas"]["ChoiceRequest"];
            };
        };
        responses: {
            200: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Structure"];
                };
            };
            201: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Structure"];
                };
            };
            default: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["ErrorBody"];
                };
            };
        };
    };
    get_front: {
        parameters: {
            query: {
                /** @description Parameters allowed, as a search takes them; those of the search if absent. */
                budget?: string;
                /** @description What serving costs. */
                cost: components["schemas"]["ServingCost"];
            };
            header?: never;
            path: {
                /** @description The structure's id, or a prefix of 4 characters or more that fits one only */
                id: string;
            };
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            200: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["List_FrontPoint"];
                };
            };
            default: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["ErrorBody"];
                };
            };
        };
    };
    list_tasks: {
        parameters: {
            query?: {
                /** @description `next_cursor` of the page before. */
                cursor?: string;
                /** @description Most entries, 1 to 1000; 100 if absent. */
                limit?: number;
            };
            header?: never;
            path?: never;
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            200: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["List_Task"];
                };
            };
            default: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["ErrorBody"];
                };
            };
        };
    };
    get_task: {
        parameters: {
            query?: never;
            header?: never;
            path: {
                /** @description Its name */
                name: string;
            };
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            200: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Task"];
                };
            };
            default: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["ErrorBody"];
                };
            };
        };
    };
    put_task: {
        parameters: {
            query?: never;
            header?: never;
            path: {
                /** @description Its name */
                name: string;
            };
            cookie?: never;
        };
        requestBody: {
            content: {
                "application/json": components["schemas"]["TaskUpload"];
            };
        };
        responses: {
            200: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Task"];
                };
            };
            default: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["ErrorBody"];
                };
            };
        };
    };
    delete_task: {
        parameters: {
            query?: never;
            header?: never;
            path: {
                /** @description Its name */
                name: string;
            };
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            204: {
                headers: {
                    [name: string]: unknown;
                };
                content?: never;
            };
            default: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["ErrorBody"];
                };
            };
        };
    };
    list_transfers: {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            200: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["List_Transfer"];
                };
            };
            default: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["ErrorBody"];
                };
            };
        };
    };
    create_transfer: {
        parameters: {
            query?: never;
            header?: {
                /** @description The same key and request give the first job */
                "idempotency-key"?: string | null;
            };
            path?: never;
            cookie?: never;
        };
        requestBody: {
            content: {
                "application/json": components["schemas"]["TransferRequest"];
            };
        };
        responses: {
            202: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Job"];
                };
            };
            default: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["ErrorBody"];
                };
            };
        };
    };
}
